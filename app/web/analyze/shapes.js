// What of an answer can be drawn on the image: boxes, polygons and landmarks, each with the words beside it. Pure.

import { alternatives, isBox, isPoint, resolved } from "./schema.js";

const WORDS = ["label", "kind", "name", "text"];
const SCORES = ["confidence", "probability", "score"];

/**
 * @typedef {{key: string, box?: number[], polygon?: number[][], points?: number[][], words: string, score: number|null,
 *   isRead: boolean, isRegion: boolean}} Shape
 * `isRead` tells that the words stand in the image anyway, `isRegion` that it is what the task looked at. A shape's key is also that of the row which tells of it.
 */

/**
 * The shapes of a task's result.
 *
 * @param {string} key the task's
 * @param {object} result as the server sends it
 * @param {object} schema of the operation's data
 * @returns {Shape[]}
 */
export function shapesOf(key, result, schema) {
  if (result.items) {
    return result.items.flatMap((item, number) => {
      const at = `${key}.${number}`;
      const whole = {
        key: at,
        box: item.bbox,
        points: item.landmarks ?? undefined,
        words: item.label ?? "",
        score: item.confidence,
      };
      return [shape(whole), ...found(schema, item.data, schema, at).filter((each) => each.key !== at)];
    });
  }
  const inside = found(schema, result.data, schema, key);
  const region = result.cropped_image_bbox;
  if (region && !inside.some((each) => String(each.box) === String(region)))
    inside.unshift(shape({ key: `${key}.region`, box: region, isRegion: true }));
  return inside;
}

/** The boxes that a task was told to work on. */
export function askedShapes(task) {
  const box = Object.values(task.params).find((value) => isDrawable(value?.bbox))?.bbox;
  return box ? [shape({ key: `${task.key}.region`, box, isRegion: true })] : [];
}

/** A shared setup may hold anything in the place of a box. */
const isDrawable = (box) => Array.isArray(box) && box.length === 4 && box.every(Number.isInteger);

const shape = (facts) => ({ words: "", score: null, isRead: false, isRegion: false, ...facts });

function found(schema, data, root, at) {
  if (data === null || typeof data !== "object") return [];
  const { options } = alternatives(schema, root);
  if (Array.isArray(data)) {
    if (options.some(isBox)) return [shape({ key: at, box: data })];
    const items = options.find((each) => each.items)?.items;
    return items ? data.flatMap((each, number) => found(items, each, root, `${at}.${number}`)) : [];
  }
  const properties = options.find((each) => each.properties)?.properties ?? {};
  const own = { key: at };
  const inner = [];
  for (const [name, property] of Object.entries(properties)) {
    const value = data[name];
    if (value === null || value === undefined) continue;
    const kind = shapeKind(property, root, name);
    if (kind) own[kind] = value;
    else inner.push(...found(property, value, root, `${at}.${name}`));
  }
  if (!own.box && !own.polygon && !own.points) return inner;
  const word = WORDS.find((name) => typeof data[name] === "string");
  const score = SCORES.find((name) => typeof data[name] === "number");
  return [
    shape({
      ...own,
      words: word ? data[word] : "",
      score: score ? data[score] : null,
      isRead: word === "text",
    }),
    ...inner,
  ];
}

/** As what a property is drawn: `box`, `polygon` or `points`; undefined for what is not drawn. */
export function shapeKind(property, root, name) {
  const { options } = alternatives(property, root);
  if (options.some(isBox)) return "box";
  if (!options.some((each) => each.items && isPoint(resolved(each.items, root)))) return undefined;
  return name === "landmarks" ? "points" : "polygon";
}
