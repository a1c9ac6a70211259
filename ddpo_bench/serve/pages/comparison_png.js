/* A comparison as one picture: the request above, and each model's label, picture and scores in columns. */

const MARGIN = 24;
const LINE = 18;
const IN_A_ROW = 5;
const FONT = "system-ui, sans-serif";

/** A PNG of columns.
 *
 * Args:
 *   columns: [{title, origin, canvas, scores}] of the models; scores as comparedScores gives them, or [].
 *   heading, caption: the lines above.
 * Returns: a Blob.
 */
export function comparisonPng(columns, heading, caption) {
  const size = columns[0].canvas;
  const enlarged = Math.max(1, Math.ceil(224 / size.width));
  const width = size.width * enlarged;
  const height = size.height * enlarged;
  const cell = { width: width + MARGIN, height: height + LINE * (3 + most(columns.map(({ scores }) => scores.length))) + MARGIN };
  const across = Math.min(columns.length, IN_A_ROW);
  const page = document.createElement("canvas");
  page.width = Math.max(across * cell.width + MARGIN, 480);
  page.height = MARGIN + LINE * 3 + Math.ceil(columns.length / across) * cell.height;
  const context = page.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, page.width, page.height);
  context.textBaseline = "top";
  const room = page.width - 2 * MARGIN;
  write(context, heading, MARGIN, MARGIN, room, `600 15px ${FONT}`, "#111");
  write(context, caption, MARGIN, MARGIN + LINE + 4, room, `12px ${FONT}`, "#555");
  columns.forEach((column, index) => {
    const x = MARGIN + (index % across) * cell.width;
    const y = MARGIN + LINE * 3 + Math.floor(index / across) * cell.height;
    drawColumn(context, column, x, y, width, height);
  });
  return new Promise((resolve) => page.toBlob(resolve, "image/png"));
}

function drawColumn(context, { title, origin, canvas, scores }, x, y, width, height) {
  write(context, title, x, y, width, `600 13px ${FONT}`, "#111");
  write(context, origin, x, y + LINE, width, `12px ${FONT}`, "#555");
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, x, y + 2 * LINE + 4, width, height);
  scores.forEach(({ judge, value, best }, index) => {
    const line = y + 2 * LINE + 12 + height + index * LINE;
    const shown = best ? `★ ${value}` : value;
    const font = `${best ? "600 " : ""}12px ${FONT}`;
    context.font = font;
    const taken = context.measureText(shown).width;
    write(context, judge, x, line, width - taken - 8, `12px ${FONT}`, "#555");
    write(context, shown, x + width - taken, line, taken + 1, font, "#111");
  });
}

function write(context, text, x, y, room, font, colour) {
  context.font = font;
  context.fillStyle = colour;
  let shown = text;
  while (shown.length > 1 && context.measureText(shown).width > room) shown = `${shown.slice(0, -2)}…`;
  context.fillText(shown, x, y);
}

const most = (numbers) => Math.max(0, ...numbers);
