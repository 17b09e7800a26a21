/** What goes onto the wire and what is read from it. What could not be sent faithfully is a TypeError that names it. */

import type { FeedbackEvent } from "./event.js";
import { EventType } from "./event.js";
import { ITEM_REASONS, Page, TIER_OUTCOMES, TIERS } from "./page.js";

/** A number of seconds as protobuf has it. */
export interface SecondsAndNanos {
  seconds: number;
  nanos: number;
}

/** protobufjs would make a text of anything: an id given as an object would become "[object Object]". */
function text(name: string, value: unknown): string {
  if (typeof value !== "string") throw new TypeError(`${name} cannot be ${String(value)} (${typeof value}); give a string`);
  return value;
}

function integer(name: string, value: unknown): number {
  if (!Number.isInteger(value)) throw new TypeError(`${name} cannot be ${String(value)} (${typeof value}); give an integer`);
  return value as number;
}

/** What `recommend` may be told besides user and surface. */
export interface RecommendFields {
  /** At most so many items; by default the surface's number, and never more than its cap. */
  maxResults?: number;
  /** For logs and traces; the server makes one if there is none. */
  requestId?: string;
  /** The item that is shown, for surfaces of items similar to it; kept off the page. */
  itemId?: string;
  /** The group that the user is sorted into, for what is popular there. */
  segment?: string;
}

export function recommendRequest(userId: string, surface: string, fields: RecommendFields): object {
  return {
    userId: text("userId", userId),
    surface: text("surface", surface),
    maxResults: integer("maxResults", fields.maxResults ?? 0),
    requestId: text("requestId", fields.requestId ?? ""),
    itemId: text("itemId", fields.itemId ?? ""),
    segment: text("segment", fields.segment ?? ""),
  };
}

export function feedbackRequest(events: Iterable<FeedbackEvent>): object {
  return { events: Array.from(events, (event, index) => eventMessage(`events[${index}]`, event)) };
}

function eventMessage(name: string, event: FeedbackEvent): object {
  if (!Object.hasOwn(EventType, event.eventType)) {
    throw new TypeError(`${name}.eventType cannot be ${String(event.eventType)}; give one of ${Object.keys(EventType).join(", ")}`);
  }
  if (event.rating !== undefined && typeof event.rating !== "number") {
    throw new TypeError(`${name}.rating cannot be ${String(event.rating)} (${typeof event.rating}); give a number`);
  }
  return {
    eventId: text(`${name}.eventId`, event.eventId),
    userId: text(`${name}.userId`, event.userId),
    itemId: text(`${name}.itemId`, event.itemId),
    eventType: `EVENT_TYPE_${event.eventType}`,
    eventTime: event.time === undefined ? undefined : timestamp(`${name}.time`, event.time),
    rating: event.rating,
    attributionToken: text(`${name}.attributionToken`, event.attributionToken),
  };
}

function timestamp(name: string, time: Date): SecondsAndNanos {
  const milliseconds = time instanceof Date ? time.getTime() : NaN;
  if (Number.isNaN(milliseconds)) throw new TypeError(`${name} cannot be ${String(time)}; give a valid Date`);
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: (milliseconds - seconds * 1000) * 1_000_000 };
}

/** RecommendResponse, as proto-loader reads it. */
export interface RecommendResponse {
  items: { itemId: string; score: number; tier: string | number; reason: string | number }[];
  tier: string | number;
  tierReports: {
    tier: string | number;
    outcome: string | number;
    itemCount: number;
    listGeneration: number;
    listAge: SecondsAndNanos | null;
  }[];
  attributionToken: string;
  requestId: string;
}

export function page(userId: string, response: RecommendResponse): Page {
  return new Page(
    userId,
    response.items.map((item) => ({
      itemId: item.itemId,
      score: item.score,
      tier: word(TIERS, "TIER_", item.tier),
      reason: word(ITEM_REASONS, "ITEM_REASON_", item.reason),
    })),
    word(TIERS, "TIER_", response.tier),
    response.tierReports.map((report) => ({
      tier: word(TIERS, "TIER_", report.tier),
      outcome: word(TIER_OUTCOMES, "TIER_OUTCOME_", report.outcome),
      itemCount: report.itemCount,
      listGeneration: report.listGeneration,
      listAgeSeconds: report.listAge === null ? undefined : report.listAge.seconds + report.listAge.nanos / 1e9,
    })),
    response.attributionToken,
    response.requestId,
  );
}

/** The word of an enum's name; a number, which is what a name that is not known comes as, is UNSPECIFIED. */
function word<Word extends string>(words: readonly Word[], prefix: string, name: string | number): Word {
  return words.find((known) => prefix + known === name) ?? ("UNSPECIFIED" as Word);
}
