/**
 * A peer to call: a real gRPC server on a free port whose answers a test scripts. It stands in for the network's other side
 * where a front cannot be made to misbehave on demand; `front.test` has the real one.
 */

import { Metadata, Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall, type ServiceError, status } from "@grpc/grpc-js";

import { method } from "../src/contract.js";

type Answer = "ok" | "silence" | Partial<ServiceError>;

export class Peer {
  address = "";
  /** Each is given once; after them comes `otherwise`. */
  readonly answers: Answer[] = [];
  otherwise: Answer = "ok";
  readonly requests: any[] = [];
  readonly metadata: Metadata[] = [];
  readonly #server = new Server();

  async start(): Promise<this> {
    for (const [service, name] of [
      ["tastemaker.v1.RecommendationService", "Recommend"],
      ["tastemaker.v1.FeedbackService", "Feedback"],
    ] as const) {
      this.#server.addService({ [name]: method(service, name) }, { [name]: this.#answer.bind(this) });
    }
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    this.address = `127.0.0.1:${port}`;
    return this;
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #answer(call: ServerUnaryCall<object, object>, send: sendUnaryData<object>): void {
    this.requests.push(call.request);
    this.metadata.push(call.metadata);
    const answer = this.answers.shift() ?? this.otherwise;
    if (answer === "ok") send(null, {});
    else if (answer !== "silence") send(answer as ServiceError, null);
  }
}

export const UNAVAILABLE: Answer = { code: status.UNAVAILABLE, details: "not now" };
