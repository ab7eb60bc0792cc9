//! The routes for machines.

use axum::Json;
use utoipa::OpenApi;

/// Collects what stands beside each handler.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Frontrow",
        description = "Browsing, live seats and operation. Selling goes over /v1/ws and TCP."
    ),
    paths(
        super::ops::index,
        super::ops::healthz,
        super::ops::readyz,
        super::ops::metrics,
        super::ops::dev_token,
        document,
        super::browse::list,
        super::browse::event,
        super::browse::map,
        super::browse::section_map,
        super::browse::section,
        super::websocket::upgrade,
        super::admin::create,
        super::admin::open,
        super::admin::pause,
        super::admin::close,
        super::archive::archive,
        super::archive::bookings,
        super::admin::block,
        super::admin::unblock,
        super::replication::node,
        super::replication::promote,
        super::replication::status,
        super::replication::alone,
        super::replication::backup,
    )
)]
struct Api;

#[utoipa::path(get, path = "/openapi.json", tag = "operate",
    responses((status = 200, description = "this document", content_type = "application/json")))]
/// All routes for machines.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    let mut api = Api::openapi();
    api.merge(frontrow_bookings::api::Api::openapi());
    Json(api)
}
