/** The server answered, and the answer is an error. `message` is the server's own words. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null = null,
  ) {
    super(message);
  }
}

/** No answer came, or it broke off. */
export class NetworkError extends Error {
  override name = "NetworkError";
}

/** Reads the message out of the error shapes that the server uses, `{error: {message}}` and `{detail}`. */
export async function errorFrom(response: Response): Promise<ApiError> {
  const fallback = `The server answered ${response.status}${response.statusText ? ` ${response.statusText}` : ""}.`;
  try {
    const body: unknown = await response.json();
    return new ApiError(response.status, messageIn(body) ?? fallback, codeIn(body));
  } catch {
    return new ApiError(response.status, fallback);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function messageIn(body: unknown): string | null {
  if (!isRecord(body)) return null;
  if (isRecord(body.error) && typeof body.error.message === "string") return body.error.message;
  return typeof body.detail === "string" ? body.detail : null;
}

function codeIn(body: unknown): string | null {
  return isRecord(body) && isRecord(body.error) && typeof body.error.code === "string"
    ? body.error.code
    : null;
}

/** A sentence for people, from anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof NetworkError) return "The server did not answer.";
  return error instanceof Error && error.message ? error.message : "Something went wrong.";
}
