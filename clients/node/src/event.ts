/** One thing that one user did with one item, as `feedback` sends it. What is allowed in a field is the server's to say. */

import { randomUUID } from "node:crypto";

/** What a user did with an item. */
export const EventType = {
  VIEW: "VIEW",
  CLICK: "CLICK",
  ADD_TO_CART: "ADD_TO_CART",
  PURCHASE: "PURCHASE",
  CONSUME: "CONSUME",
  RATE: "RATE",
} as const;
export type EventType = (typeof EventType)[keyof typeof EventType];

/** What an event may have besides user, item and type. */
export interface EventOptions {
  /** Unique over all events ever sent; by default a new UUID. */
  eventId?: string;
  /** When it was done; by default the moment at which the server receives it. */
  time?: Date;
  /** For RATE only, in the operator's range (0.5 to 5 by default). */
  rating?: number;
  /** `Page.attributionToken` of the page that led to this event; `Page.event` sets it. */
  attributionToken?: string;
}

/**
 * One thing that one user did with one item at one time.
 *
 * The id is made once, here: an event may be sent again as often as you like, after a timeout for example, and the server
 * counts it once.
 */
export class FeedbackEvent {
  readonly eventId: string;
  readonly time: Date | undefined;
  readonly rating: number | undefined;
  readonly attributionToken: string;

  constructor(
    readonly userId: string,
    readonly itemId: string,
    readonly eventType: EventType,
    options: EventOptions = {},
  ) {
    this.eventId = options.eventId ?? randomUUID();
    this.time = options.time;
    this.rating = options.rating;
    this.attributionToken = options.attributionToken ?? "";
  }
}

/** What the server stored. Every event is on disk, and the next `recommend` of its user sees it. */
export interface FeedbackReceipt {
  /** Events that were new. */
  readonly acceptedCount: number;
  /** Events that had been stored before; sending them again changed nothing. */
  readonly duplicateCount: number;
}
