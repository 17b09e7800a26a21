/** The Node client of Tastemaker. */

export { Client } from "./client.js";
export type { CallOptions, ClientOptions, FeedbackOptions, HealthStatus, RecommendOptions } from "./client.js";
export { serviceConfig } from "./contract.js";
export {
  DeadlineExceededError,
  EventIdReusedError,
  InternalError,
  InvalidRequestError,
  TastemakerError,
  UnavailableError,
  UnknownSurfaceError,
} from "./errors.js";
export type { FieldViolation } from "./errors.js";
export { EventType, FeedbackEvent } from "./event.js";
export type { EventOptions, FeedbackReceipt } from "./event.js";
export { Page } from "./page.js";
export type { ItemReason, RecommendedItem, Tier, TierOutcome, TierReport } from "./page.js";
