// The addresses inside the page, and those of the server behind them.

/** The hash that leads to a collection. */
export function placeOf(collection, view = "search", more = {}) {
  return `#${new URLSearchParams({ collection, view, ...more })}`;
}

export const collectionPath = (name) => `index/${encodeURIComponent(name)}/`;

/** An id may hold slashes, which are no steps of the path. */
export const itemPath = (name, id) => `${collectionPath(name)}items/${encodeURIComponent(id)}`;
