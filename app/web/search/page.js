// The page of the collections: the hash of the address tells which one is shown, and how.

import { byId } from "../dom.js";
import { mountShell } from "../shell.js";
import { collectionView } from "./collection.js";
import { collectionsView } from "./collections.js";

// Views of the collection that is shown: what a person filled in stays while another one is looked at.
let open = null;

function show() {
  const place = new URLSearchParams(location.hash.slice(1));
  const name = place.get("collection");
  if (name === null) {
    open = null;
    collectionsView(byId("main"));
    document.title = "Search · Sightgraph";
    return;
  }
  if (open?.name !== name) open = collectionView(byId("main"), name);
  open.show(place);
  document.title = `${name} · Search · Sightgraph`;
}

function follow() {
  const before = open?.name;
  show();
  // Who comes to another collection is at its beginning, and hears so.
  if (open?.name !== before) byId("main").focus();
}

mountShell("search");
addEventListener("hashchange", follow);
// A file that misses its place must not take the place of the page.
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
show();
