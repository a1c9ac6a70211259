/* Server-sent events read from the answer to a POST, which the browser's EventSource cannot send. */

/** Yields [event name, parsed data] for each event of a response's body, as they arrive. */
export async function* serverSentEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending.push(value);
    if (!value.includes("\n")) continue; // in the middle of a picture: joined once, when its line ends
    const blocks = pending.join("").replaceAll("\r\n", "\n").split("\n\n");
    pending = [blocks.pop()];
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

function parse(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? [name, JSON.parse(data.join("\n"))] : null; // a comment keeps the connection alive
}
