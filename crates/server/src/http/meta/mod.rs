//! What the server says about itself: health, keys, endpoints, problem types, OpenAPI.

pub mod discovery;
pub mod jwks;
pub mod live;
pub mod openapi;
pub mod problem;
pub mod ready;
