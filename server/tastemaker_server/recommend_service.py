"""`RecommendationService`: checks the request, asks the recommender, signs the answer."""

from collections.abc import Callable, Mapping
from typing import Any

from tastemaker.artefacts.v1.state_pb2 import Attribution
from tastemaker.v1 import recommendation_service_pb2 as pb
from tastemaker.v1 import recommendation_service_pb2_grpc as pb_grpc
from tastemaker_server.attribution import AttributionSigner
from tastemaker_server.call import current_call
from tastemaker_server.errors import UnknownSurfaceError
from tastemaker_server.recommender import Recommender
from tastemaker_server.settings import SurfaceSettings
from tastemaker_server.validation import MAX_ID_BYTES, MAX_KEY_BYTES, Violations

__all__ = ["RecommendService"]


class RecommendService(pb_grpc.RecommendationServiceServicer):
    """See `tastemaker.v1.RecommendationService`, in proto/."""

    def __init__(
        self,
        *,
        recommender: Recommender,
        surfaces: Mapping[str, SurfaceSettings],
        signer: AttributionSigner,
        now_micros: Callable[[], int],
    ) -> None:
        self._recommender = recommender
        self._surfaces = surfaces
        self._signer = signer
        self._now_micros = now_micros

    async def Recommend(self, request: pb.RecommendRequest, context: Any) -> pb.RecommendResponse:  # noqa: N802  # gRPC's name
        """See the .proto file."""
        user_id, surface_name, item_id, segment = request.user_id, request.surface, request.item_id, request.segment
        request_id, max_results = request.request_id, request.max_results
        violations = Violations()
        violations.check_id("user_id", user_id, max_bytes=MAX_ID_BYTES)
        violations.check_id("surface", surface_name, max_bytes=MAX_KEY_BYTES)
        violations.check_id("request_id", request_id, max_bytes=MAX_KEY_BYTES, required=False)
        violations.check_id("item_id", item_id, max_bytes=MAX_ID_BYTES, required=False)
        violations.check_id("segment", segment, max_bytes=MAX_KEY_BYTES, required=False)
        if max_results < 0:
            violations.add("max_results", f"is {max_results}; send 0 for the surface's default, or more")
        violations.raise_if_any()
        call = current_call()
        if request_id:  # before the metadata's: a proxy on the way may have set that one
            call.request_id = request_id
        surface = self._surfaces.get(surface_name)
        if surface is None:
            raise UnknownSurfaceError(surface_name, list(self._surfaces))

        call.surface = surface_name
        seconds_left = context.time_remaining()
        if seconds_left is None:
            seconds_left = surface.default_deadline_milliseconds / 1000
        response = await self._recommender.recommend(
            user_id=user_id,
            surface_name=surface_name,
            surface=surface,
            max_results=min(max_results or surface.default_results, surface.max_results),
            seconds_left=seconds_left,
            item_id=item_id,
            segment=segment,
        )
        call.tier = tier = response.tier
        response.request_id = call.request_id
        response.attribution_token = self._signer.sign(
            Attribution(
                request_id=call.request_id, surface=surface_name, served_time_micros=self._now_micros(), tier=tier
            )
        )
        return response
