/* One generation as it arrives: its steps' pictures, and at the end the final ones with their scores. */

import { post } from "./api.js";
import { serverSentEvents } from "./event_stream.js";

export class Generation {
  constructor(request) {
    this.request = request; // what is sent, and what the pictures show
    this.frames = []; // {step, words, pictures: {model id: Blob}}, the final pictures last
    this.scores = null;
    this.commands = {};
    this.seconds = null;
    this.abort = new AbortController();
  }

  get steps() {
    return this.request.steps;
  }

  get finished() {
    return this.scores !== null;
  }

  cancel() {
    this.abort.abort();
  }

  /** Sends the request and yields the name and data of each event, after taking in what it brought. */
  async *run() {
    const options = { headers: { Accept: "text/event-stream" }, signal: this.abort.signal };
    const response = await post("api/generate", this.request, options);
    for await (const [name, data] of serverSentEvents(response.body)) {
      if (name === "error") throw new Error(data.detail);
      if (name === "start") this.commands = data.command;
      if (name === "step") this.add(data.step, `Step ${data.step} of ${data.of} · timestep ${Math.round(data.timestep)}`, data.images);
      if (name === "final") this.end(data);
      yield [name, data];
    }
    if (!this.finished) throw new Error("The pictures stopped arriving before the last step.");
  }

  end({ images, scores, seconds }) {
    this.add(this.steps + 1, "Final pictures", images);
    this.scores = scores;
    this.seconds = seconds;
  }

  add(step, words, images) {
    const pictures = Object.entries(images).map(([id, url]) => [id, toBlob(url)]);
    this.frames.push({ step, words, pictures: Object.fromEntries(pictures) });
  }

  /** Number of the newest step that has arrived, 0 before the first; the final pictures are one more than the last. */
  get newest() {
    return this.frames.at(-1)?.step ?? 0;
  }

  /** The frame of a step, or the nearest before it: a server that is ahead of its reader leaves some out. */
  at(step) {
    return this.frames.findLast((frame) => frame.step <= step) ?? this.frames[0];
  }
}

/** A data URL's bytes: a browser may keep those of many large steps on the disk. */
function toBlob(url) {
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
