// The images that the server has to try things with.

import { ask, askJson } from "../api.js";

/** Which there are: name and title; none where the server has none. */
export async function sampleList() {
  try {
    return await askJson("playground/samples");
  } catch {
    return [];
  }
}

/** A sample as a file. */
export async function sampleFile({ name, title }) {
  const blob = await (await ask(`playground/samples/${encodeURIComponent(name)}`)).blob();
  return new File([blob], `${title}.${blob.type.split("/")[1]}`, { type: blob.type });
}

export const sampleThumbnail = ({ name }) => `samples/${encodeURIComponent(name)}/thumbnail`;
