/**
 * What a call is rejected with.
 *
 *     TastemakerError               any failure; itself where none below fits (PERMISSION_DENIED, for example)
 *     ├── InvalidRequestError       a field is wrong: fieldViolations lists all of them. Do not retry.
 *     ├── UnknownSurfaceError       no such surface: knownSurfaces. Do not retry.
 *     ├── EventIdReusedError        an eventId came again with other content: fieldViolations. Do not retry.
 *     ├── UnavailableError          not now: retryDelayMilliseconds. The client has already retried.
 *     ├── DeadlineExceededError     no answer in time. recommend and feedback may both be sent again safely.
 *     └── InternalError             a defect of the platform: incidentId is in its logs.
 *
 * Each has a `code`, a `reason` (a name of error_reason.proto, "" where the answer has none: no connection, a deadline) and
 * `metadata`. The class follows the reason, and the code where there is no reason that this client knows.
 *
 * What cannot be sent at all, a number for a text for example, is a TypeError.
 */

import { status, type ServiceError } from "@grpc/grpc-js";

import { decode } from "./contract.js";
import type { SecondsAndNanos } from "./messages.js";

/** The key of a request id in the metadata of a call and of its answer. */
export const REQUEST_ID_KEY = "x-request-id";

const DOMAIN = "tastemaker";

/** One wrong field of a request. */
export interface FieldViolation {
  /** Its path, for example "events[3].rating". */
  readonly field: string;
  /** What is wrong with it, and what would be right. */
  readonly description: string;
}

/** What the other side said about a failed call. */
export interface Failure {
  readonly code: status;
  readonly message: string;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly fieldViolations: readonly FieldViolation[];
  readonly retryDelayMilliseconds: number | undefined;
  readonly requestId: string;
}

/** A call failed. */
export class TastemakerError extends Error {
  /** The gRPC status. */
  readonly code: status;
  /** Why, as a name of the proto's ErrorReason without its prefix; "" where the answer has none. */
  readonly reason: string;
  /** What belongs to the reason; error_reason.proto has a sample for each. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What to look for in the server's logs; "" where the answer does not say. */
  readonly requestId: string;
  protected readonly failure: Failure;

  constructor(failure: Failure, options?: ErrorOptions) {
    super(`${failure.reason || status[failure.code]}: ${failure.message}`, options);
    this.name = new.target.name;
    this.code = failure.code;
    this.reason = failure.reason;
    this.metadata = failure.metadata;
    this.requestId = failure.requestId;
    this.failure = failure;
    Object.defineProperty(this, "failure", { enumerable: false });
  }
}

class FieldsError extends TastemakerError {
  /** The wrong fields, not only the first: as many as fit into an answer's trailers. */
  get fieldViolations(): readonly FieldViolation[] {
    return this.failure.fieldViolations;
  }

  /** How many fields are wrong, those that did not fit included. */
  get fieldCount(): number {
    return Number(this.metadata["field_count"]) || this.fieldViolations.length;
  }
}

/** At least one field of the request is wrong. Nothing was stored. */
export class InvalidRequestError extends FieldsError {}

/** An eventId was sent before with other content. Nothing was stored. */
export class EventIdReusedError extends FieldsError {}

/** The operator has configured no surface of that name. */
export class UnknownSurfaceError extends TastemakerError {
  /** The surfaces that there are; empty where the answer does not say. */
  get knownSurfaces(): string[] {
    return (this.metadata["known_surfaces"] ?? "").split(",").filter((name) => name !== "");
  }
}

/** The server cannot be reached, is draining, or has lost its store, and trying again by itself did not help. */
export class UnavailableError extends TastemakerError {
  /** How long the server asks to wait before the next try; undefined where nothing was said. */
  get retryDelayMilliseconds(): number | undefined {
    return this.failure.retryDelayMilliseconds;
  }
}

/** No answer came in time. For feedback it is unknown whether the events are stored; sending them again is safe. */
export class DeadlineExceededError extends TastemakerError {}

/** A defect of the platform. */
export class InternalError extends TastemakerError {
  /** What to look for in the server's logs; "" where the answer does not say. */
  get incidentId(): string {
    return this.metadata["incident_id"] ?? "";
  }
}

const BY_REASON: Readonly<Record<string, typeof TastemakerError>> = {
  EVENT_ID_REUSED: EventIdReusedError,
  INTERNAL: InternalError,
  INVALID_FIELDS: InvalidRequestError,
  STORE_UNAVAILABLE: UnavailableError,
  UNKNOWN_SURFACE: UnknownSurfaceError,
};

// NOT_FOUND and ALREADY_EXISTS are missing on purpose: without a reason they may be about anything, a proxy's route for example.
const BY_CODE: Readonly<Partial<Record<status, typeof TastemakerError>>> = {
  [status.DATA_LOSS]: InternalError,
  [status.DEADLINE_EXCEEDED]: DeadlineExceededError,
  [status.INTERNAL]: InternalError,
  [status.INVALID_ARGUMENT]: InvalidRequestError,
  [status.UNAVAILABLE]: UnavailableError,
  [status.UNKNOWN]: InternalError,
};

/** Turns what grpc-js rejects a call with into this package's errors. */
export function errorFromCall(error: ServiceError): TastemakerError {
  const failure = read(error);
  const kind = BY_REASON[failure.reason] ?? BY_CODE[failure.code] ?? TastemakerError;
  return new kind(failure, { cause: error });
}

function read(error: ServiceError): Failure {
  const info = detail<{ reason: string; domain: string; metadata: Record<string, string> }>(error, "google.rpc.ErrorInfo");
  const isOurs = info?.domain === DOMAIN;
  const bad = detail<{ fieldViolations: FieldViolation[] }>(error, "google.rpc.BadRequest");
  const delay = detail<{ retryDelay: SecondsAndNanos | null }>(error, "google.rpc.RetryInfo")?.retryDelay;
  return {
    code: error.code,
    message: error.details,
    reason: isOurs ? info.reason : "",
    metadata: isOurs ? info.metadata : {},
    fieldViolations: bad?.fieldViolations ?? [],
    retryDelayMilliseconds: delay ? delay.seconds * 1000 + delay.nanos / 1e6 : undefined,
    requestId: String(error.metadata?.get(REQUEST_ID_KEY)[0] ?? ""),
  };
}

function detail<Message>(error: ServiceError, type: string): Message | undefined {
  const [trailer] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!(trailer instanceof Buffer)) return undefined;
  try {
    const { details } = decode<{ details: { type_url: string; value: Buffer }[] }>("google.rpc.Status", trailer);
    const found = details.find(({ type_url }) => type_url.endsWith(`/${type}`));
    return found && decode<Message>(type, found.value);
  } catch {
    return undefined; // A proxy has changed the details on the way. The status itself still tells what to do.
  }
}
