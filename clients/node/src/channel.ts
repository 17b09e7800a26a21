/** The options of a channel: what is sent twice, how a dead connection is noticed, how soon to reconnect. */

import type { ChannelOptions } from "@grpc/grpc-js";

import { serviceConfig } from "./contract.js";

/** The options to open a channel with; `overrides` come before them. */
export function channelOptions(overrides: ChannelOptions): ChannelOptions {
  return {
    // grpc-js can hedge, which the file of the other languages does not ask for.
    "grpc.service_config": serviceConfig("hedging"),
    // A peer whose machine has died sends nothing, not even a reset, and what lies between forgets idle connections: pings go
    // out between calls too, so that the next call, which has half a second, does not find out. A front allows one every
    // five seconds.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
    // gRPC would wait up to two minutes between attempts; a service that is back should be used at once.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 5_000,
    ...overrides,
  };
}
