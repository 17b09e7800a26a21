/** What grpc-js makes of the service configs: what is sent again, when, and where to. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Metadata, status } from "@grpc/grpc-js";

import { Client, DeadlineExceededError, FeedbackEvent, serviceConfig, TastemakerError, UnavailableError } from "../src/index.js";
import { Peer, UNAVAILABLE } from "./peer.js";

const patient = { timeoutMilliseconds: 20_000 };
const clients: Client[] = [];
let peer: Peer;
let other: Peer;

function connect(address: string, config?: string): Client {
  const client = new Client(address, config === undefined ? {} : { channelOptions: { "grpc.service_config": config } });
  clients.push(client);
  return client;
}

beforeEach(async () => {
  peer = await new Peer().start();
  other = await new Peer().start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  peer.stop();
  other.stop();
});

/** A client for which both peers take turns: until it has a connection to each, one may be asked twice in a row. */
async function connectToBoth(config?: string): Promise<Client> {
  const client = connect(`ipv4:${peer.address},${other.address}`, config);
  for (let count = 0; (peer.requests.length === 0 || other.requests.length === 0) && count < 10_000; count++) {
    await client.recommend("42", "home", patient);
  }
  peer.requests.length = 0;
  return client;
}

test("a front that does not answer costs a quarter of a second: the call goes to the next as well", async () => {
  const client = await connectToBoth();
  peer.otherwise = "silence";
  await client.recommend("42", "home", patient);
  await client.recommend("42", "home", patient);
  assert.ok(peer.requests.length > 0);
});

test("without hedging such a call waits until its deadline", async () => {
  const client = await connectToBoth(serviceConfig("retrying"));
  peer.otherwise = "silence";
  const calls = [0, 1].map(() => client.recommend("42", "home", { timeoutMilliseconds: 1_000 }));
  const [failed, ...others] = (await Promise.allSettled(calls)).filter((result) => result.status === "rejected");
  assert.ok(failed?.reason instanceof DeadlineExceededError);
  assert.deepEqual(others, []);
});

test("what was unavailable is asked once more, at once", async () => {
  peer.answers.push(UNAVAILABLE);
  await connect(peer.address).recommend("42", "home", patient);
  assert.equal(peer.requests.length, 2);
  peer.answers.push(UNAVAILABLE, UNAVAILABLE);
  await assert.rejects(connect(peer.address).recommend("42", "home", patient), UnavailableError);
  assert.equal(peer.requests.length, 4);
});

test("feedback is retried, three times at most", async () => {
  const event = new FeedbackEvent("42", "50", "CONSUME");
  peer.answers.push(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE);
  await connect(peer.address).feedback([event], patient);
  assert.deepEqual(peer.requests.map((request) => request.events[0].eventId), Array(4).fill(event.eventId));
  peer.otherwise = UNAVAILABLE;
  await assert.rejects(connect(peer.address).feedback([event], patient), UnavailableError);
  assert.equal(peer.requests.length, 8);
});

test("no other status is sent again", async () => {
  const client = connect(peer.address);
  for (const code of [status.INTERNAL, status.RESOURCE_EXHAUSTED, status.UNKNOWN]) {
    peer.answers.push({ code, details: "no" });
    await assert.rejects(client.recommend("42", "home", patient), (error) => error instanceof TastemakerError && error.code === code);
  }
  assert.equal(peer.requests.length, 3);
});

test("feedback is not retried while most calls fail", async () => {
  peer.otherwise = UNAVAILABLE;
  const client = connect(peer.address);
  const fail = () => assert.rejects(client.feedback([], patient), UnavailableError);
  await Promise.all(Array.from({ length: 30 }, fail));
  const before = peer.requests.length;
  await fail();
  assert.ok(before < 30 * 4);
  assert.equal(peer.requests.length, before + 1);
});

// gRPC's design has it that hedges end as retries do. Should this fail on a new grpc-js, docs/clients.md can say so.
test("grpc-js goes on to hedge while most calls fail: two attempts are what a dying platform can bear", async () => {
  peer.otherwise = UNAVAILABLE;
  const client = connect(peer.address);
  for (let count = 0; count < 60; count++) await assert.rejects(client.recommend("42", "home", patient), UnavailableError);
  assert.equal(peer.requests.length, 60 * 2);
});

test("a config with both policies for one method is refused: that is why there are two files", async () => {
  const config = JSON.parse(serviceConfig("hedging"));
  config.methodConfig[0].retryPolicy = config.methodConfig[1].retryPolicy;
  assert.throws(() => connect(peer.address, JSON.stringify(config)), /retryPolicy and hedgingPolicy cannot both be specified/);
});

test("the request id goes into the metadata, and that of a failed call comes back from there", async () => {
  const client = connect(peer.address);
  await client.recommend("42", "home", { requestId: "zoë 1", ...patient });
  await client.feedback([], { requestId: "order-17/50%", ...patient });
  assert.deepEqual(peer.metadata.map((sent) => sent.get("x-request-id")), [["zo%C3%AB%201"], ["order-17/50%"]]);
  assert.equal(peer.requests[0].requestId, "zoë 1");

  const trailers = new Metadata();
  trailers.set("x-request-id", "made-by-the-front");
  peer.answers.push({ code: status.INTERNAL, details: "a defect", metadata: trailers });
  await assert.rejects(client.recommend("42", "home", patient), { requestId: "made-by-the-front", message: "INTERNAL: a defect" });
});
