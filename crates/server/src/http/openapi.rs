//! The OpenAPI 3.1 document: paths and schemas from the handlers, access and problems from [`super::operations`].

use axum::http::Method;
use countersign_core::api_client::Scope;
use countersign_proto::problem::{Problem, ProblemType};
use serde_json::json;
use utoipa::{
    ToSchema as _,
    openapi::{
        ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder,
        path::Operation as PathOperation,
        schema::ComponentsBuilder,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::operations::{self, Access, Operation};

const DESCRIPTION: &str = "Push-notification approval of sign-ins. Errors are RFC 9457 problem documents; every \
type has a page under `/problems/`. Clients ignore reply members that they do not know.";

/// Title, licence and the schemas that no handler names.
pub fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("countersign")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    let bearer = SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("csk_…").build());
    let signed = |description: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("Authorization", description)))
    };
    let components = ComponentsBuilder::new()
        .schema(Problem::name(), <Problem as utoipa::PartialSchema>::schema())
        .schema("FieldError", <countersign_proto::problem::FieldError as utoipa::PartialSchema>::schema())
        .security_scheme("api_key", bearer)
        .security_scheme("client_proof", signed("`ClientProof <countersign-client-proof+jwt>`"))
        .security_scheme("device_proof", signed("`DeviceProof <countersign-proof+jwt>`"))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// The whole document.
pub fn document() -> OpenApi {
    let mut document = super::routes::documented().into_openapi();
    for operation in operations::ALL {
        if let Some(path_operation) = find(&mut document, operation) {
            describe(path_operation, operation);
        }
    }
    document
}

/// The document's operation for a row.
pub fn find<'d>(document: &'d mut OpenApi, operation: &Operation) -> Option<&'d mut PathOperation> {
    let item = document.paths.paths.get_mut(operation.path)?;
    let slot = match operation.method {
        Method::GET => &mut item.get,
        Method::POST => &mut item.post,
        Method::PUT => &mut item.put,
        Method::PATCH => &mut item.patch,
        Method::DELETE => &mut item.delete,
        _ => return None,
    };
    slot.as_mut()
}

fn describe(target: &mut PathOperation, operation: &Operation) {
    target.operation_id = Some(operation.id.to_owned());
    target.security = Some(match operation.access {
        Access::Public | Access::Artefact(_) => Vec::new(),
        Access::DeviceProof => vec![SecurityRequirement::new("device_proof", Vec::<String>::new())],
        // One requirement per scope and way of showing who one is: any of them will do.
        Access::Client(scopes) => {
            let of_scope = |scope: &Scope| ["api_key", "client_proof"].map(|name| requirement(name, *scope));
            scopes.iter().flat_map(of_scope).collect()
        }
        // All of them in one requirement.
        Access::ClientWithAll(scopes) => {
            let words: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
            ["api_key", "client_proof"].map(|name| SecurityRequirement::new(name, words.clone())).into()
        }
    });
    let problems = operation.all_problems();
    let mut statuses: Vec<u16> = problems.iter().map(|problem| problem.spec().status).collect();
    statuses.dedup();
    for status in statuses {
        let of_status = problems.iter().filter(|problem| problem.spec().status == status);
        let kinds: Vec<ProblemType> = of_status.copied().collect();
        target.responses.responses.insert(status.to_string(), problem_response(&kinds).into());
    }
}

fn requirement(name: &str, scope: Scope) -> SecurityRequirement {
    SecurityRequirement::new(name, [scope.as_str()])
}

fn problem_response(kinds: &[ProblemType]) -> utoipa::openapi::Response {
    let words: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.spec().slug)).collect();
    let example = kinds.first().map(|kind| {
        let spec = kind.spec();
        json!({
            "type": format!("https://approve.example.org/problems/{}", spec.slug),
            "title": spec.title,
            "status": spec.status,
            "detail": spec.explanation,
            "request_id": "01939b5e-7a2c-7def-8abc-0123456789ab",
        })
    });
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).example(example).build();
    ResponseBuilder::new().description(words.join(", ")).content("application/problem+json", content).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_parameters_in_a_path_are_those_that_its_template_names() {
        let document = serde_json::to_value(document()).unwrap();
        for operation in operations::ALL {
            let method = operation.method.as_str().to_lowercase();
            let parameters = document["paths"][operation.path][&method]["parameters"].as_array().cloned();
            let parameters = parameters.unwrap_or_default();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let named: BTreeSet<_> = in_path.filter_map(|parameter| parameter["name"].as_str()).collect();
            let in_template = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(named, in_template.collect(), "{}", operation.id);
            let is_required = |parameter: &Value| parameter["required"] == true;
            assert!(parameters.iter().all(|parameter| parameter["in"] != "path" || is_required(parameter)));
        }
    }
}
