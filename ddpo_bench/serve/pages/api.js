/* Requests to the server, and what to tell people when one fails. */

export class Refusal extends Error {
  constructor(status, detail, retryAfter = null) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter; // seconds, where the server gave them
  }
}

/** A response that succeeded; a Refusal otherwise. */
export async function request(path, options = {}) {
  const response = await fetch(path, options);
  if (response.ok) return response;
  const detail = await response.json().then((body) => body.detail, () => null);
  const line = typeof detail === "string" ? detail : response.statusText || `status ${response.status}`;
  throw new Refusal(response.status, line, Number(response.headers.get("Retry-After")) || null);
}

export const getJson = async (path) => (await request(path)).json();

export const post = (path, body, options = {}) =>
  request(path, {
    ...options,
    method: "POST",
    headers: { "Content-Type": "application/json", ...options.headers },
    body: JSON.stringify(body),
  });

/** What went wrong and what to do about it, in words. */
export function explain(error) {
  if (!(error instanceof Refusal)) {
    if (error instanceof TypeError)
      return ["The server does not answer.", "Check in its terminal that ddpo-bench serve is running, then try again."];
    return [error.message, "Try again; if it happens again, the terminal of ddpo-bench serve says more."];
  }
  if (error.status === 503) {
    const wait = error.retryAfter ? `in about ${error.retryAfter} seconds` : "in a moment";
    return [`The server is busy: ${error.message}`, `Nothing is lost. Try again ${wait}.`];
  }
  if (error.status === 401 || error.status === 403)
    return [`Not allowed: ${error.message}`, "Open the address that ddpo-bench serve printed, with its token."];
  if (error.status >= 500) return [error.message, "The terminal of ddpo-bench serve says more."];
  return [error.message, "Change it, then try again."];
}
