/**
 * What `recommend` returns: a ranked page, and where each part of it came from.
 *
 * Every word may be "UNSPECIFIED", which no server sends: it stands for a value that a newer server knows and this client
 * does not.
 */

import { FeedbackEvent, type EventOptions, type EventType } from "./event.js";

/** Where an item came from, from the most personal to the least. */
export const TIERS = ["UNSPECIFIED", "LIVE_MODEL", "PRECOMPUTED", "POPULAR"] as const;
export type Tier = (typeof TIERS)[number];

/** What a tier contributed to a page, or why it could not. */
export const TIER_OUTCOMES = [
  "UNSPECIFIED",
  "USED",
  "NOT_NEEDED",
  "NO_HISTORY",
  "EMPTY",
  "TIMED_OUT",
  "SKIPPED_FOR_DEADLINE",
  "UNAVAILABLE",
  "NO_LIST",
] as const;
export type TierOutcome = (typeof TIER_OUTCOMES)[number];

/** Why an item is on the page. */
export const ITEM_REASONS = [
  "UNSPECIFIED",
  "RANKED_FROM_HISTORY",
  "IN_USER_LIST",
  "POPULAR",
  "SIMILAR_TO_ITEM",
] as const;
export type ItemReason = (typeof ITEM_REASONS)[number];

/** One item of a page. */
export interface RecommendedItem {
  readonly itemId: string;
  /** Higher is better; comparable only between items of one page with the same tier. */
  readonly score: number;
  readonly tier: Tier;
  readonly reason: ItemReason;
}

/** What became of one tier in one call. */
export interface TierReport {
  readonly tier: Tier;
  readonly outcome: TierOutcome;
  /** How many items of the page came from the tier. */
  readonly itemCount: number;
  /** The generation of lists that the tier looked into; 0 where there is none. */
  readonly listGeneration: number;
  /** How long ago those lists were computed; undefined where there are none. */
  readonly listAgeSeconds: number | undefined;
}

/** A ranked page for one user. */
export class Page {
  constructor(
    /** The user that was asked for. */
    readonly userId: string,
    /** Best first. Shorter than asked only where all tiers together had no more. */
    readonly items: readonly RecommendedItem[],
    /** The tier of the first item: the best one that answered. */
    readonly tier: Tier,
    /** Every tier of the surface, in the order they are tried. */
    readonly tierReports: readonly TierReport[],
    /** Opaque. Belongs into each event that this page led to; `event` puts it there. */
    readonly attributionToken: string,
    /** The caller's, or the one that the server made. */
    readonly requestId: string,
  ) {}

  /** The items' ids, best first. */
  get itemIds(): string[] {
    return this.items.map((item) => item.itemId);
  }

  /** The event that this page's user did something with an item of it, tied to the page. */
  event(itemId: string, eventType: EventType, options: Omit<EventOptions, "attributionToken"> = {}): FeedbackEvent {
    return new FeedbackEvent(this.userId, itemId, eventType, { ...options, attributionToken: this.attributionToken });
  }
}
