//! `GET /healthz`: the process answers.

/// The process answers; says nothing about the database.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, description = "`ok`", body = String)))]
pub async fn handle() -> &'static str {
    "ok\n"
}
