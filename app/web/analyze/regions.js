// The field of a target: a named region, a box that is drawn on the image, or what another task finds.

import { el, icon, uniqueId } from "../dom.js";
import { drawBox } from "./drawing.js";
import { namesOf, wantOf } from "./schema.js";
import { on, state } from "./state.js";

const EDGES = ["xmin", "ymin", "xmax", "ymax"];

/**
 * A choice among the other tasks, which follows when they change.
 *
 * @param {object} task that refers to the chosen one
 * @param {() => string|undefined} referred which one it refers to now: who is renamed is still meant
 * @param {(select: HTMLSelectElement) => void} change
 */
export function taskSelect(task, referred, change, properties = {}) {
  const select = el("select", { ...properties, onchange: () => change(select) });

  function offer(chosen) {
    const ids = state.tasks.filter((each) => each !== task).map((each) => each.id);
    // One that is gone stays chosen, so that it can be seen what the task refers to.
    if (chosen && !ids.includes(chosen)) ids.push(chosen);
    select.replaceChildren(
      el("option", { value: "" }, ids.length ? "choose a task" : "add another task first"),
      ...ids.map((id) => el("option", { value: id }, id)),
    );
    select.value = chosen ?? "";
  }

  offer(referred());
  // What was chosen but not taken, such as none at all, stays as it is.
  on("tasks", () => select.isConnected && offer(select.value && referred()));
  return select;
}

/** The parts of a field for a schema whose alternatives are names, and objects with one required property. */
export function regionField(about, value, put) {
  const names = about.schema.options.flatMap((each) => namesOf(each) ?? []);
  const wants = about.schema.options.map(wantOf).filter(Boolean);
  const detail = el("div", { class: "region-detail" });
  const select = el(
    "select",
    { id: about.id, "aria-describedby": about.describedBy, onchange: () => choose(select.value) },
    names.map((name) => el("option", { value: name }, name)),
    wants.map((want) => el("option", { value: `@${want}` }, WANTS[want]?.title ?? `{"${want}": ...}`)),
  );

  function choose(chosen) {
    if (!chosen.startsWith("@")) {
      detail.replaceChildren();
      put(select, chosen);
      return;
    }
    const want = chosen.slice(1);
    detail.replaceChildren(
      (WANTS[want]?.detail ?? other(want))(about, undefined, (value, problem) => put(select, value, problem)),
    );
    if (want === "task") detail.querySelector("select").focus();
  }

  const want = wants.find((each) => value && typeof value === "object" && each in value);
  select.value = want ? `@${want}` : (value ?? about.fallback ?? names[0]);
  if (want)
    detail.append(
      (WANTS[want]?.detail ?? other(want))(about, value[want], (value, problem) =>
        put(select, value, problem),
      ),
    );
  return el("div", { class: "stack tight" }, select, detail);
}

const WANTS = {
  bbox: {
    title: "a box of your own",
    detail(about, box, put) {
      const id = uniqueId("box");
      const inputs = EDGES.map((edge, index) =>
        el("input", {
          type: "number",
          step: 1,
          id: `${id}-${edge}`,
          value: Number.isInteger(box?.[index]) ? box[index] : "",
          oninput: read,
        }),
      );

      function read() {
        const values = inputs.map((input) => (input.value === "" ? NaN : Number(input.value)));
        if (values.some((each) => !Number.isInteger(each)))
          return put(undefined, "A box takes four whole numbers.");
        const [xmin, ymin, xmax, ymax] = values;
        if (xmin >= xmax || ymin >= ymax)
          return put(undefined, "The box holds no pixel: xmin < xmax and ymin < ymax are needed.");
        put({ bbox: values });
      }

      async function draw() {
        const drawn = await drawBox(about.task);
        if (!drawn) return;
        for (const [index, input] of inputs.entries()) input.value = drawn[index];
        read();
      }

      if (!box) read();
      return el(
        "div",
        { class: "stack tight" },
        el(
          "div",
          { class: "edges" },
          EDGES.map((edge, index) =>
            el("label", { class: "field" }, el("span", { class: "hint" }, edge), inputs[index]),
          ),
        ),
        el(
          "button",
          { type: "button", class: "button small", onclick: draw },
          icon("box"),
          "Draw it on the image",
        ),
      );
    },
  },

  task: {
    title: "what another task finds",
    detail(about, id, put) {
      const read = (select) =>
        put(
          select.value ? { task: select.value } : undefined,
          select.value ? "" : "Choose the task whose boxes it works on.",
        );
      const referred = () => about.task.params[about.name]?.task;
      const select = taskSelect(about.task, referred, read, { "aria-label": "Task whose boxes it works on" });
      if (!id) read(select);
      return select;
    },
  },
};

/** A form of target that this page does not know is written as JSON. */
const other = (want) => (about, value, put) => {
  const read = () => {
    try {
      put({ [want]: JSON.parse(input.value) });
    } catch (error) {
      put(undefined, `Not JSON: ${error.message}`);
    }
  };
  const input = el("textarea", {
    class: "mono",
    rows: 2,
    "aria-label": `${want} as JSON`,
    oninput: read,
    value: value === undefined ? "" : JSON.stringify(value),
  });
  return input;
};
