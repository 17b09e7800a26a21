/** Against a real front with the address TASTEMAKER_TEST_ADDRESS, an empty event log and a max_connection_age of a fraction of a second. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import {
  Client,
  DeadlineExceededError,
  EventIdReusedError,
  FeedbackEvent,
  InvalidRequestError,
  TastemakerError,
  UnavailableError,
  UnknownSurfaceError,
} from "../src/index.js";

const address = process.env["TASTEMAKER_TEST_ADDRESS"];
assert.ok(address, "TASTEMAKER_TEST_ADDRESS has the address of a front");
const patient = { timeoutMilliseconds: 20_000 };
let client: Client;

before(async () => {
  client = new Client(address);
  await client.feedback([new FeedbackEvent("1", "a", "CONSUME"), new FeedbackEvent("1", "b", "CONSUME")], patient);
});
after(() => client.close());

test("feedback shows in the next page", async () => {
  const user = randomUUID();
  const receipt = await client.feedback([new FeedbackEvent(user, "a", "CONSUME")], patient);
  const page = await client.recommend(user, "home", { maxResults: 1, requestId: "r-1", ...patient });
  assert.deepEqual(receipt, { acceptedCount: 1, duplicateCount: 0 });
  assert.deepEqual(page.itemIds, ["b"]);
  assert.equal(page.tier, "POPULAR");
  assert.equal(page.items[0]?.reason, "POPULAR");
  assert.equal(page.requestId, "r-1");
  const outcomes = page.tierReports.map((report) => [report.tier, report.outcome, report.itemCount]);
  assert.deepEqual(outcomes, [
    ["LIVE_MODEL", "UNAVAILABLE", 0],
    ["PRECOMPUTED", "NO_LIST", 0],
    ["POPULAR", "USED", 1],
  ]);
});

test("events of a page are accepted, and sending them again changes nothing", async () => {
  const page = await client.recommend(randomUUID(), "home", patient);
  const events = [
    page.event("a", "CLICK", { time: new Date("2026-01-31T12:00:00.250Z") }),
    page.event("a", "RATE", { rating: 4.5 }),
  ];
  assert.equal(events[0]?.attributionToken, page.attributionToken);
  assert.deepEqual(await client.feedback(events, patient), { acceptedCount: 2, duplicateCount: 0 });
  assert.deepEqual(await client.feedback(events, patient), { acceptedCount: 0, duplicateCount: 2 });
});

test("every wrong field comes back", async () => {
  const events = [
    new FeedbackEvent("", "50", "CONSUME", { rating: 3 }),
    new FeedbackEvent("42", "50", "CLICK", { time: new Date("2999-01-01") }),
  ];
  await assert.rejects(client.feedback(events, patient), (error) => {
    assert.ok(error instanceof InvalidRequestError);
    assert.equal(error.reason, "INVALID_FIELDS");
    assert.equal(error.fieldCount, 3);
    const fields = error.fieldViolations.map(({ field }) => field);
    assert.deepEqual(fields.sort(), ["events[0].rating", "events[0].user_id", "events[1].event_time"]);
    return true;
  });
});

test("an unknown surface names those that there are", async () => {
  await assert.rejects(client.recommend("42", "hoem", patient), (error) => {
    assert.ok(error instanceof UnknownSurfaceError);
    assert.deepEqual(error.knownSurfaces, ["home"]);
    return true;
  });
});

test("an event id that comes again with other content is refused", async () => {
  const eventId = randomUUID();
  await client.feedback([new FeedbackEvent("42", "50", "CLICK", { eventId })], patient);
  await assert.rejects(client.feedback([new FeedbackEvent("42", "7", "CLICK", { eventId })], patient), (error) => {
    assert.ok(error instanceof EventIdReusedError);
    assert.equal(error.fieldViolations[0]?.field, "events[0].event_id");
    return true;
  });
});

test("health is the component's", async () => {
  assert.equal(await client.health("", patient), "SERVING");
  assert.equal(await client.health("event_log", patient), "SERVING");
  assert.equal(await client.health("model/rnn", patient), "NOT_SERVING");
  await assert.rejects(client.health("nonsense", patient), (error) => error instanceof TastemakerError && error.code === 5);
});

test("a server that is not there is unavailable without a reason, and a deadline has an error of its own", async () => {
  const nobody = new Client("127.0.0.1:9");
  await assert.rejects(nobody.recommend("42", "home", patient), (error) => error instanceof UnavailableError && error.reason === "");
  nobody.close();
  const late = client.recommend("42", "home", { timeoutMilliseconds: -1 });
  await assert.rejects(late, DeadlineExceededError);
});

test("what cannot be sent is named", async () => {
  const wrong = (call: () => Promise<unknown>, message: RegExp) => assert.rejects(call, { name: "TypeError", message });
  await wrong(() => client.recommend(42 as any, "home"), /^userId cannot be 42 \(number\); give a string/);
  await wrong(() => client.recommend("42", "home", { maxResults: "3" as any }), /^maxResults cannot be 3 \(string\)/);
  await wrong(() => client.feedback([new FeedbackEvent("42", "50", "LIKE" as any)]), /^events\[0\]\.eventType cannot be LIKE; give one of VIEW/);
  await wrong(() => client.feedback([new FeedbackEvent("42", "50", "RATE", { rating: "5" as any })]), /^events\[0\]\.rating cannot be 5/);
  await wrong(() => client.feedback([new FeedbackEvent("42", "50", "VIEW", { time: new Date("?") })]), /^events\[0\]\.time cannot be Invalid Date/);
});

test("a front that ends connections now and then fails no call, even where nothing is retried by a policy", async () => {
  const plain = new Client(address, { channelOptions: { "grpc.service_config": "{}" } });
  const callOn = async () => {
    for (let count = 0; count < 400; count++) await plain.recommend("42", "home", patient);
  };
  await Promise.all([callOn(), callOn(), callOn(), callOn()]);
  plain.close();
});
