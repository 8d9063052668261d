// What a JSON schema asks for, as far as a form needs to know. Pure.

/** A schema with its references followed; what stands beside a reference goes before what it leads to. */
export function resolved(schema, root) {
  let found = schema ?? {};
  while (found.$ref) {
    const { $ref, ...beside } = found;
    const target = $ref
      .replace(/^#\//, "")
      .split("/")
      .reduce((at, step) => at?.[step], root);
    found = { ...(target ?? {}), ...beside };
  }
  return found;
}

/** The alternatives of a schema but null, and whether null is one of them. */
export function alternatives(schema, root) {
  const whole = resolved(schema, root);
  const all = (whole.anyOf ?? whole.oneOf ?? [whole]).map((each) => resolved(each, root));
  const some = all.filter((each) => each.type !== "null");
  return { options: some, isNullable: some.length < all.length };
}

/**
 * Which field a schema is filled in with: `choice`, `switch`, `number`, `text`, `long-text`, `lines`, `choices`,
 * `task`, `region`, `number-or-text`, and `json` for all that this form does not know.
 *
 * @returns {{kind: string, schema: object}} the schema is the one alternative, where there is one
 */
export function fieldOf(schema, root) {
  const { options } = alternatives(schema, root);
  if (options.length === 1) return { kind: kindOf(options[0], root), schema: options[0] };
  if (options.every((each) => namesOf(each) || wantOf(each))) return { kind: "region", schema: { options } };
  const types = options.map((each) => each.type).sort();
  if (String(types) === "integer,string" || String(types) === "number,string")
    return { kind: "number-or-text", schema: options.find((each) => each.type === "string") };
  return { kind: "json", schema: resolved(schema, root) };
}

function kindOf(schema, root) {
  if (namesOf(schema)) return "choice";
  switch (schema.type) {
    case "boolean":
      return "switch";
    case "integer":
    case "number":
      return "number";
    case "string":
      if (schema.format === "task-id") return "task";
      return (schema.maxLength ?? Infinity) > 300 ? "long-text" : "text";
    case "array": {
      const items = resolved(schema.items, root);
      if (schema.prefixItems || !schema.items) return "json";
      if (namesOf(items)) return "choices";
      return items.type === "string" ? "lines" : "json";
    }
  }
  return "json";
}

/** The strings among which a schema lets choose; undefined where it does not. */
export function namesOf(schema) {
  const names = "const" in schema ? [schema.const] : schema.enum;
  return names?.every((each) => typeof each === "string") ? names : undefined;
}

/** What an object with one required property wants, such as `bbox` or `task`; undefined for another schema. */
export function wantOf(schema) {
  return schema.type === "object" && schema.required?.length === 1 ? schema.required[0] : undefined;
}

/** The bounds of a number, a text or a list in words; empty where it has none. */
export function boundsOf(schema) {
  const [least, most] = [
    schema.minimum ?? schema.exclusiveMinimum,
    schema.maximum ?? schema.exclusiveMaximum,
  ];
  const [fewest, longest] = [schema.minItems, schema.maxItems];
  if (least !== undefined && most !== undefined) return `${least} to ${most}`;
  if (least !== undefined) return `${least} or more`;
  if (most !== undefined) return `at most ${most}`;
  if (fewest && longest) return `${fewest} to ${longest}, one a line`;
  return "";
}

/** The properties of an operation's params: those that it requires, its own, and those that most operations share. */
export function fieldsOf(operation, operations) {
  const root = operation.params;
  const names = Object.keys(root.properties ?? {});
  const all = Object.values(operations);
  const share = (name) => all.filter((each) => name in (each.params.properties ?? {})).length / all.length;
  const required = new Set(root.required ?? []);
  const isCommon = (name) => all.length > 2 && !required.has(name) && name !== "target" && share(name) > 0.6;
  return {
    main: names.filter((name) => !isCommon(name)).sort((a, b) => rank(a, required) - rank(b, required)),
    common: names.filter(isCommon),
    required,
  };
}

const rank = (name, required) => (name === "target" ? 0 : required.has(name) ? 1 : 2);

/** The group under which an operation is listed, by what its data is. */
export function groupOf(operation) {
  const schema = operation.data;
  const { options } = alternatives(schema, schema);
  const whole = options[0] ?? {};
  if (whole.type === "array" && resolved(whole.items, schema).type === "number" && !whole.prefixItems)
    return "Vectors";
  if (whole.type === "string" || hasTexts(schema)) return "Words";
  return isBox(whole) || hasBoxes(schema) ? "Regions" : "Facts and scores";
}

export const GROUPS = ["Regions", "Words", "Facts and scores", "Vectors"];

/** Whether a schema is that of a box of the analysed image; boxes in other images are of another type. */
export const isBox = (schema) => schema.prefixItems?.[0]?.title === "Xmin";

/** Whether it is that of a point of the analysed image. */
export const isPoint = (schema) => schema.prefixItems?.length === 2 && schema.prefixItems[0].title === "X";

const definitions = (schema) => Object.values(schema.$defs ?? {});

const hasTexts = (schema) =>
  definitions(schema).some(
    (each) => each.properties?.text?.type === "string" && "polygon" in each.properties,
  );

const hasBoxes = (schema) => definitions(schema).some(isBox);
