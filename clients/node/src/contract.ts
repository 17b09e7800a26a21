/** The contract as this package carries it: its methods, the messages of errors, the service configs. Read once, when first needed. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { MethodDefinition } from "@grpc/grpc-js";
import { loadSync, type MessageTypeDefinition, type PackageDefinition, type ServiceDefinition } from "@grpc/proto-loader";

const PROTOS = join(__dirname, "..", "..", "protos");

// A field or enum number of a newer server must not disturb: unknown fields are passed over, unknown numbers stay numbers.
const OPTIONS = { includeDirs: [PROTOS], keepCase: false, enums: String, longs: Number, defaults: true };

let loaded: PackageDefinition | undefined;

function contract(): PackageDefinition {
  loaded ??= loadSync(
    [
      "tastemaker/v1/recommendation_service.proto",
      "tastemaker/v1/feedback_service.proto",
      "grpc/health/v1/health.proto",
      "google/rpc/status.proto",
      "google/rpc/error_details.proto",
    ],
    OPTIONS,
  );
  return loaded;
}

/** One method, for example ("tastemaker.v1.RecommendationService", "Recommend"). */
export function method(service: string, name: string): MethodDefinition<object, object> {
  const found = (contract()[service] as ServiceDefinition)[name];
  if (found === undefined) throw new Error(`the contract has no method ${service}/${name}`);
  return found;
}

/** Reads a message, for example of "google.rpc.Status". Throws where `bytes` is none. */
export function decode<Message>(type: string, bytes: Buffer): Message {
  return (contract()[type] as MessageTypeDefinition<object, object>).deserialize(bytes) as Message;
}

/**
 * What gRPC is told to do by itself, as JSON: "hedging" sends a Recommend that has no answer after a quarter of a second to
 * another front as well; "retrying" only repeats what was UNAVAILABLE.
 */
export function serviceConfig(kind: "hedging" | "retrying"): string {
  const file = kind === "hedging" ? "service_config_hedging.json" : "service_config.json";
  return readFileSync(join(PROTOS, "tastemaker", "v1", file), "utf-8");
}
