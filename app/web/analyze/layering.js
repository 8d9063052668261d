// Places the nodes of a graph in layers, from what they need to what needs them. Pure.

/**
 * @param {string[]} ids of the nodes, each after those that it needs
 * @param {Array<[string, string]>} edges from a needed node to one that needs it
 * @param {Set<string>} last ids that are put into the last layer
 * @returns {{layers: string[][], paths: Map<string, string[]>}} the ids of each layer, in which an edge over several
 *   layers has a place in each of them; and by "from>to" the ids that an edge passes
 */
export function layered(ids, edges, last) {
  const layerOf = new Map();
  for (const id of ids) {
    const before = edges.filter(([, to]) => to === id).map(([from]) => layerOf.get(from));
    layerOf.set(id, before.length ? Math.max(...before) + 1 : 0);
  }
  const depth = Math.max(...layerOf.values());
  const end = ids.some((id) => !last.has(id) && layerOf.get(id) === depth) ? depth + 1 : depth;
  for (const id of last) layerOf.set(id, end);

  const layers = Array.from({ length: end + 1 }, () => []);
  for (const id of ids) layers[layerOf.get(id)].push(id);
  const paths = new Map();
  const links = [];
  for (const [from, to] of edges) {
    const path = [from];
    for (let layer = layerOf.get(from) + 1; layer < layerOf.get(to); layer++) {
      // Edges of one node stay together as far as they can.
      const pass = `${from}@${layer}`;
      if (!layers[layer].includes(pass)) layers[layer].push(pass);
      path.push(pass);
    }
    path.push(to);
    paths.set(`${from}>${to}`, path);
    for (let step = 1; step < path.length; step++) links.push([path[step - 1], path[step]]);
  }
  for (let sweep = 0; sweep < 4; sweep++) {
    for (let layer = 1; layer < layers.length; layer++) arrange(layers, layer, layer - 1, links, 0);
    for (let layer = layers.length - 2; layer >= 0; layer--) arrange(layers, layer, layer + 1, links, 1);
  }
  return { layers, paths };
}

/** Orders a layer by where the neighbours of its nodes lie in the layer beside it. */
function arrange(layers, layer, beside, links, side) {
  const place = new Map(
    layers[beside].map((id, number) => [id, number / Math.max(1, layers[beside].length - 1)]),
  );
  const middle = (id, number) => {
    const places = links
      .filter((link) => link[1 - side] === id && place.has(link[side]))
      .map((link) => place.get(link[side]));
    return places.length
      ? places.reduce((sum, each) => sum + each, 0) / places.length
      : number / layers[layer].length;
  };
  const middles = new Map(layers[layer].map((id, number) => [id, middle(id, number)]));
  layers[layer].sort((a, b) => middles.get(a) - middles.get(b));
}
