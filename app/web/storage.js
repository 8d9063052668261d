// Where a page keeps what it was told. A browser that lets pages keep nothing throws when it is asked to: then it is
// kept until the page is left.

/** The storage `localStorage` or `sessionStorage`, or what stands in for it. */
export function storage(name) {
  try {
    return window[name];
  } catch {
    const kept = new Map();
    return {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => kept.set(key, value),
      removeItem: (key) => kept.delete(key),
    };
  }
}
