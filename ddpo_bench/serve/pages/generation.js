/* One generation as it arrives: its steps' pictures, and at the end the final ones with their scores. */

import { post } from "./api.js";
import { serverSentEvents } from "./event_stream.js";

export class Generation {
  constructor(request) {
    this.request = request; // what is sent, and what the pictures show
    this.frames = []; // {words, pictures: {model id: Blob}}, the final pictures last
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
      if (name === "step") this.add(`Step ${data.step} of ${data.of} · timestep ${data.timestep}`, data.images);
      if (name === "final") this.end(data);
      yield [name, data];
    }
    if (!this.finished) throw new Error("The pictures stopped arriving before the last step.");
  }

  end({ images, scores, seconds }) {
    this.add("Final pictures", images);
    this.scores = scores;
    this.seconds = seconds;
  }

  add(words, images) {
    const pictures = Object.entries(images).map(([id, url]) => [id, toBlob(url)]);
    this.frames.push({ words, pictures: Object.fromEntries(pictures) });
  }
}

/** A data URL's bytes: a browser may keep those of many large steps on the disk. */
function toBlob(url) {
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
