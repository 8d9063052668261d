// What the page knows, and who is told when it changes. A setup lies in the address's hash, so that it can be
// shared; the image and the key never do.

/**
 * A task: `key` is its own for as long as the page is open, `id` is the operation_id that a person may change, `tone`
 * is the number of its colour, and `isNew` tells that a person has just added it.
 *
 * @typedef {{key: string, id: string, type: string, params: Object<string, unknown>, tone: number, isNew?: boolean}} Task
 */

export const state = {
  /** By type, as the catalog tells; null until it came. */
  operations: null,
  /** @type {Task[]} */
  tasks: [],
  /** {name, picture, width, height, blob?, url?, sample?, sha256?}; null until one is chosen. */
  image: null,
  /** The last run: {status, tasks, results: Map, timings, requestId, error}. */
  run: null,
  /** Keys of the tasks that are not drawn. */
  hidden: new Set(),
};

const events = new EventTarget();

/**
 * Calls a function when something changed: `operations`, `tasks` (which there are and their names), `params`,
 * `image`, `run` or `hidden`.
 */
export function on(names, act) {
  for (const name of names.split(" ")) events.addEventListener(name, act);
}

export const tell = (name) => events.dispatchEvent(new Event(name));

let count = 0;

const TONES = 8;

/** A colour for a task that no other one has, as long as there are enough. */

function freeTone() {
  const taken = state.tasks.map((task) => task.tone);
  for (let tone = 0; tone < TONES; tone++) if (!taken.includes(tone)) return tone;
  return count % TONES;
}

/** An id that no task has yet, made of a word. */
export function freeId(word) {
  const ids = new Set(state.tasks.map((task) => task.id));
  if (!ids.has(word)) return word;
  for (let number = 2; ; number++) if (!ids.has(`${word}_${number}`)) return `${word}_${number}`;
}

export function addTask(type, params, id = freeId(type), after = state.tasks.length) {
  const task = {
    key: `task${++count}`,
    id,
    type,
    params: structuredClone(params),
    tone: freeTone(),
    isNew: true,
  };
  state.tasks.splice(after, 0, task);
  tell("tasks");
  return task;
}

export function removeTask(task) {
  state.tasks = state.tasks.filter((each) => each !== task);
  tell("tasks");
}

export function setTasks(tasks) {
  state.tasks = [];
  for (const { operation_id: id, type, params } of tasks)
    state.tasks.push({
      key: `task${++count}`,
      id,
      type,
      params: structuredClone(params ?? {}),
      tone: freeTone(),
    });
  tell("tasks");
}

/** Gives a task another id; what refers to it follows. */
export function renameTask(task, id) {
  const old = task.id;
  task.id = id;
  for (const each of state.tasks) {
    const properties = state.operations?.[each.type]?.params.properties ?? {};
    for (const [name, value] of Object.entries(each.params)) {
      if (value?.task === old) each.params[name] = { ...value, task: id };
      else if (value === old && properties[name]?.format === "task-id") each.params[name] = id;
    }
  }
  tell("tasks");
}

/** Whether a result is that of a task to which no region came. */
export const isEmpty = (result) => result.items?.length === 0;

/** The tasks as they are sent. */
export const wireTasks = () =>
  state.tasks.map(({ id, type, params }) => ({
    operation_id: id,
    type,
    ...(Object.keys(params).length ? { params } : {}),
  }));

/** The hash of an address that leads to this setup. */
export function setupHash() {
  const fields = new URLSearchParams();
  if (state.image?.sample) fields.set("sample", state.image.sample);
  if (state.tasks.length) fields.set("tasks", JSON.stringify(wireTasks()));
  return `#${fields}`;
}

/** The setup that an address's hash holds; tasks is null where it holds none that can be read. */
export function setupOf(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  let tasks = null;
  try {
    const read = JSON.parse(fields.get("tasks"));
    if (Array.isArray(read) && read.every(isTask)) tasks = read.slice(0, 64);
  } catch {
    // A setup that was cut off in a mail, say.
  }
  return { sample: fields.get("sample"), tasks, isDamaged: fields.has("tasks") && tasks === null };
}

const isTask = (each) =>
  typeof each?.operation_id === "string" &&
  typeof each.type === "string" &&
  (each.params === undefined ||
    each.params === null ||
    (typeof each.params === "object" && !Array.isArray(each.params)));
