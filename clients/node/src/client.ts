/** The client: a promise for each call, and a deadline on each. */

import { type ChannelCredentials, type ChannelOptions, Client as GrpcClient, credentials, Metadata } from "@grpc/grpc-js";

import { channelOptions } from "./channel.js";
import { method } from "./contract.js";
import { errorFromCall, REQUEST_ID_KEY } from "./errors.js";
import type { FeedbackEvent, FeedbackReceipt } from "./event.js";
import { feedbackRequest, page, type RecommendFields, recommendRequest, type RecommendResponse } from "./messages.js";
import type { Page } from "./page.js";

const RECOMMEND_TIMEOUT_MILLISECONDS = 500; // A page waits for it; the front leaves slow tiers in time to keep it.
const FEEDBACK_TIMEOUT_MILLISECONDS = 5_000; // Nobody waits for it to be shown, and it must reach a disk.
const HEALTH_TIMEOUT_MILLISECONDS = 1_000; // Enough to connect and to ask.

/** How a component of a server is. */
export type HealthStatus = "UNKNOWN" | "SERVING" | "NOT_SERVING" | "SERVICE_UNKNOWN";

export interface ClientOptions {
  /** For TLS, `credentials.createSsl(...)` of @grpc/grpc-js; by default plain text. */
  credentials?: ChannelCredentials;
  /** grpc-js channel options beside or instead of those in `channel`. */
  channelOptions?: ChannelOptions;
}

export interface CallOptions {
  /** The deadline of the call with all its attempts. */
  timeoutMilliseconds?: number;
}

export interface RecommendOptions extends CallOptions, RecommendFields {}

export interface FeedbackOptions extends CallOptions {
  /** For logs and traces. */
  requestId?: string;
}

/** Calls Tastemaker. Make one per process and share it; it connects at the first call and reconnects by itself. */
export class Client {
  readonly #grpc: GrpcClient;

  /**
   * @param address a gRPC target, "127.0.0.1:50051" or "dns:///tastemaker:50051", whose addresses take turns
   */
  constructor(address: string, options: ClientOptions = {}) {
    this.#grpc = new GrpcClient(
      address,
      options.credentials ?? credentials.createInsecure(),
      channelOptions(options.channelOptions ?? {}),
    );
  }

  /**
   * Asks for one ranked page; the deadline is half a second by default. An unknown user, or a model that is down, gives a page
   * from another tier.
   *
   * @throws TastemakerError one of its subclasses, see `errors`
   */
  async recommend(userId: string, surface: string, options: RecommendOptions = {}): Promise<Page> {
    const request = recommendRequest(userId, surface, options);
    const response = await this.#call<RecommendResponse>(
      "tastemaker.v1.RecommendationService",
      "Recommend",
      request,
      options.timeoutMilliseconds ?? RECOMMEND_TIMEOUT_MILLISECONDS,
      options.requestId,
    );
    return page(userId, response);
  }

  /**
   * Stores what users did, 1 to 500 events: all or, on any error, none. Sending an event again changes nothing. The deadline
   * is five seconds by default.
   *
   * @throws TastemakerError one of its subclasses, see `errors`
   */
  async feedback(events: Iterable<FeedbackEvent>, options: FeedbackOptions = {}): Promise<FeedbackReceipt> {
    return this.#call<FeedbackReceipt>(
      "tastemaker.v1.FeedbackService",
      "Feedback",
      feedbackRequest(events),
      options.timeoutMilliseconds ?? FEEDBACK_TIMEOUT_MILLISECONDS,
      options.requestId,
    );
  }

  /**
   * Asks how the server is, or one component of it, "event_log" for example. The deadline is a second by default.
   *
   * @throws TastemakerError with the code NOT_FOUND where the server has no such component
   */
  async health(component = "", options: CallOptions = {}): Promise<HealthStatus> {
    const { status } = await this.#call<{ status: HealthStatus | number }>(
      "grpc.health.v1.Health",
      "Check",
      { service: component },
      options.timeoutMilliseconds ?? HEALTH_TIMEOUT_MILLISECONDS,
    );
    return typeof status === "string" ? status : "UNKNOWN";
  }

  /** Closes the connection. Calls in flight go on. */
  close(): void {
    this.#grpc.close();
  }

  #call<Response>(
    service: string,
    name: string,
    request: object,
    timeoutMilliseconds: number,
    requestId = "",
  ): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = method(service, name);
    const deadline = Date.now() + timeoutMilliseconds;
    const metadata = requestMetadata(requestId);
    return new Promise((resolve, reject) => {
      this.#grpc.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, { deadline }, (error, response) => {
        if (error !== null) reject(errorFromCall(error));
        else resolve(response as Response);
      });
    });
  }
}

/** What is not visible ASCII is percent-encoded: metadata cannot carry it. */
function requestMetadata(requestId: string): Metadata {
  const metadata = new Metadata();
  if (requestId !== "") metadata.set(REQUEST_ID_KEY, requestId.replace(/[^!-~]/gu, encodeURIComponent));
  return metadata;
}
