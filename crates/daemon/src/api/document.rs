//! The OpenAPI document: what the router's annotations say, the roles of the table, and the one shape of every error.

use control_api::Problem;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema};

use super::answer::PROBLEM;
use super::roles::{AdminFor, ROUTES, Route};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Quintain",
        description = "The control plane of an iSCSI target, on its Unix socket.",
        version = env!("CARGO_PKG_VERSION"),
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(Problem))
)]
struct Base;

/// What the router starts from.
pub(super) fn base() -> OpenApi {
    Base::openapi()
}

/// As text.
pub(super) fn of(mut document: OpenApi) -> String {
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, mut item) in paths {
        // The router's sign for "the rest of the URL" is not OpenAPI's.
        let path = path.replace("{*", "{");
        for (method, operation) in operations(&mut item) {
            complete(
                operation,
                ROUTES.iter().find(|r| r.method == method && r.path == path),
            );
        }
        document.paths.paths.insert(path, item);
    }
    // Written from values that are all JSON: it cannot fail.
    document.to_pretty_json().unwrap_or_default()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    let slots = [
        ("GET", get),
        ("PUT", put),
        ("POST", post),
        ("DELETE", delete),
        ("PATCH", patch),
    ];
    slots
        .into_iter()
        .filter_map(|(method, slot)| Some((method, slot.as_mut()?)))
}

fn complete(operation: &mut Operation, route: Option<&Route>) {
    if let Some(route) = route {
        let role = role_text(route);
        let description = operation.description.take();
        operation.description =
            Some(description.map_or_else(|| role.clone(), |text| format!("{text}\n\n{role}")));
    }
    let schema = RefOr::Ref(Ref::from_schema_name(Problem::name()));
    let response = ResponseBuilder::new()
        .description("why not")
        .content(PROBLEM, Content::new(Some(schema)))
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(response));
}

fn role_text(route: &Route) -> String {
    let role = format!("Role: {}", route.role);
    match route.admin_for {
        None => format!("{role}."),
        Some(AdminFor::OtherChanges) => {
            format!("{role} for setting `enabled` and `size`, admin for any other change.")
        }
        Some(AdminFor::Secrets) => format!("{role}; admin for secrets."),
    }
}
