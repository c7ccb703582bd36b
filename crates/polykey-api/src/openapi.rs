//! The OpenAPI page, made from the same endpoints and types that agent and client use.

use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref,
    RefOr, ResponseBuilder, ResponsesBuilder, Schema, SecurityRequirement,
};

use crate::endpoint::{Endpoint, Shape};
use crate::problem::ProblemReply;
use crate::{
    agent, audit, devices, doctor, exchange, friends, identities, keys, links, nodes, notifications,
    recovery, replicas, secrets, sharing, vaults,
};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const LINES: &str = "application/x-ndjson";

/// The whole API as an OpenAPI 3.1 document.
pub fn page() -> OpenApi {
    Page::default()
        .call(&agent::STATUS)
        .call(&agent::STOP)
        .call(&agent::LOCK)
        .call(&agent::LOCK_ALL)
        .call(&agent::UNLOCK)
        .call(&agent::LOGIN)
        .call(&agent::CHECK)
        .call(&doctor::EXAMINE)
        .call(&audit::READ)
        .call(&audit::VERIFY)
        .call(&keys::PUBLIC)
        .call(&keys::EXPORT)
        .call(&keys::PASSWORD)
        .call(&keys::SIGN)
        .call(&keys::VERIFY)
        .raw(&keys::ENCRYPT)
        .raw(&keys::DECRYPT)
        .call(&keys::PROPOSE)
        .call(&keys::RENEW)
        .call(&keys::RESET)
        .call(&keys::CERTIFICATES)
        .call(&vaults::CREATE)
        .call(&vaults::LIST)
        .call(&vaults::RENAME)
        .call(&vaults::DELETE)
        .call(&vaults::UNDELETE)
        .call(&vaults::RELOCATE)
        .call(&vaults::LOG)
        .call(&vaults::DIFF)
        .call(&vaults::VERSION)
        .call(&vaults::PURGE)
        .call(&vaults::CONFLICTS)
        .call(&vaults::RESOLVE)
        .call(&sharing::SHARE)
        .call(&sharing::CANDIDATES)
        .call(&sharing::UNSHARE)
        .call(&sharing::MEMBERS)
        .call(&sharing::PERMISSIONS)
        .call(&sharing::ROTATION)
        .call(&sharing::INVITE)
        .call(&sharing::JOIN)
        .call(&sharing::STATUS)
        .call(&sharing::SET_ASIDE)
        .call(&sharing::ADOPT)
        .call(&friends::SPLIT)
        .call(&friends::LIST)
        .call(&friends::DROP)
        .call(&friends::DRILL)
        .call(&friends::REQUEST)
        .call(&friends::SHOW)
        .call(&friends::APPROVE)
        .call(&friends::REFUSE)
        .call(&friends::VETO)
        .call(&friends::RESTORE)
        .call(&identities::WORDS)
        .call(&identities::TRUST)
        .call(&identities::UNTRUST)
        .call(&identities::ALLOW)
        .call(&identities::DISALLOW)
        .call(&identities::PERMISSIONS)
        .call(&identities::GET)
        .call(&identities::LIST)
        .call(&identities::SEARCH)
        .call(&identities::PROVIDERS)
        .call(&identities::CLAIM)
        .call(&identities::UNCLAIM)
        .call(&identities::AUTHENTICATE)
        .call(&identities::AUTHENTICATED)
        .call(&identities::VERIFY)
        .call(&identities::DISCOVER)
        .call(&identities::QUEUE)
        .call(&replicas::ADD)
        .call(&replicas::LIST)
        .call(&replicas::SYNC)
        .call(&replicas::REMOVE)
        .call(&replicas::CLONE)
        .call(&replicas::KEPT)
        .call(&replicas::DROP)
        .call(&notifications::SEND)
        .call(&notifications::INBOX_READ)
        .call(&notifications::INBOX_CLEAR)
        .call(&notifications::INBOX_REMOVE)
        .call(&notifications::OUTBOX_READ)
        .call(&notifications::OUTBOX_CLEAR)
        .call(&notifications::OUTBOX_REMOVE)
        .raw(&secrets::FETCH)
        .raw(&secrets::READ)
        .call(&secrets::WRITE)
        .call(&secrets::IMPORT)
        .call(&secrets::LIST)
        .call(&secrets::STAT)
        .call(&secrets::REMOVE)
        .call(&secrets::MKDIR)
        .call(&secrets::TOUCH)
        .call(&secrets::MOVE)
        .call(&secrets::COPY)
        .call(&secrets::SET)
        .call(&secrets::ATTRIBUTES)
        .call(&secrets::LOG)
        .call(&secrets::RESTORE)
        .call(&secrets::FIND)
        .call(&nodes::ADD)
        .call(&nodes::FIND)
        .call(&nodes::PING)
        .call(&nodes::GET_ALL)
        .call(&nodes::CONNECTIONS)
        .call(&nodes::NAME)
        .call(&nodes::BLOCK)
        .call(&nodes::EXAMINE)
        .call(&recovery::RESUME)
        .call(&devices::PAIR)
        .call(&devices::WITHDRAW)
        .call(&devices::JOIN)
        .call(&devices::LIST)
        .call(&devices::REMOVE)
        .call(&links::INVITE)
        .call(&links::CLAIM)
        .call(&links::UNCLAIM)
        .call(&links::CLAIMS)
        .call(&exchange::SCAN)
        .call(&exchange::CLONE)
        .call(&exchange::PULL)
        .call(&exchange::SYNC)
        .finish()
}

/// The page, being written.
#[derive(Default)]
pub struct Page {
    paths: PathsBuilder,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Page {
    /// Adds a call whose answer is JSON.
    #[must_use]
    pub fn call<Q: ToSchema, A: ToSchema>(mut self, endpoint: &Endpoint<Q, A>) -> Self {
        self.note::<A>();
        let kind = if endpoint.shape == Shape::Lines {
            LINES
        } else {
            JSON
        };
        let answer = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(A::name())))
            .build();
        let answer = ResponseBuilder::new().description("Done").content(kind, answer);
        self.operation::<Q, A>(endpoint, answer)
    }

    /// Adds a call whose answer is raw bytes.
    #[must_use]
    pub fn raw<Q: ToSchema, A>(self, endpoint: &Endpoint<Q, A>) -> Self {
        let bytes = ContentBuilder::new().build();
        let answer = ResponseBuilder::new()
            .description("The bytes")
            .content(BYTES, bytes);
        self.operation::<Q, A>(endpoint, answer)
    }

    fn operation<Q: ToSchema, A>(mut self, endpoint: &Endpoint<Q, A>, answer: ResponseBuilder) -> Self {
        self.note::<Q>();
        self.note::<ProblemReply>();
        let problem = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(ProblemReply::name())))
            .build();
        let problem = ResponseBuilder::new()
            .description("A problem")
            .content(JSON, problem);
        let mut operation = OperationBuilder::new()
            .summary(Some(endpoint.summary))
            .operation_id(Some(endpoint.path.trim_start_matches("/v1/").replace('/', ".")))
            .tag(endpoint.path.split('/').nth(2).unwrap_or_default())
            .responses(
                ResponsesBuilder::new()
                    .response("200", answer)
                    .response("default", problem)
                    .build(),
            );
        let question = Ref::from_schema_name(Q::name());
        if matches!(endpoint.shape, Shape::Upload | Shape::Transform) {
            let query = ParameterBuilder::new()
                .name("question")
                .parameter_in(ParameterIn::Query)
                .description(Some("The fields of the schema, each as a parameter"))
                .schema(Some(question));
            let bytes = RequestBodyBuilder::new().content(BYTES, ContentBuilder::new().build());
            operation = operation.parameter(query).request_body(Some(bytes.build()));
        } else {
            let content = ContentBuilder::new().schema(Some(question)).build();
            operation =
                operation.request_body(Some(RequestBodyBuilder::new().content(JSON, content).build()));
        }
        let method = match endpoint.method() {
            "PUT" => HttpMethod::Put,
            _ => HttpMethod::Post,
        };
        self.paths = self
            .paths
            .path(endpoint.path, PathItem::new(method, operation.build()));
        self
    }

    fn note<T: ToSchema>(&mut self) {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
    }

    fn finish(self) -> OpenApi {
        let scheme = |scheme| SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
        let components = ComponentsBuilder::new()
            .schemas_from_iter(self.schemas)
            .security_scheme("password", scheme(HttpAuthScheme::Basic))
            .security_scheme("session", scheme(HttpAuthScheme::Bearer))
            .build();
        let none: [&str; 0] = [];
        OpenApiBuilder::new()
            .info(
                InfoBuilder::new()
                    .title("polykey agent")
                    .version(env!("CARGO_PKG_VERSION"))
                    .description(Some("The agent's API on its Unix socket"))
                    .build(),
            )
            .paths(self.paths.build())
            .components(Some(components))
            .security(Some([
                SecurityRequirement::new("password", none),
                SecurityRequirement::new("session", none),
            ]))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_is_named_is_there() {
        let text = page().to_json().expect("plain data");
        let json: serde_json::Value = serde_json::from_str(&text).expect("just written");
        let schemas = json["components"]["schemas"].as_object().expect("an object");
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().expect("split gives one");
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(json["paths"]["/v1/keys/public"]["post"].is_object());
    }

    /// Every name of a field in `json`, also of fields of fields.
    fn field_names(json: &serde_json::Value, names: &mut Vec<String>) {
        match json {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    if let ("properties", Some(properties)) = (name.as_str(), value.as_object()) {
                        names.extend(properties.keys().cloned());
                    }
                    field_names(value, names);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| field_names(item, names)),
            _ => {}
        }
    }

    #[test]
    fn names_of_fields_are_in_camel_case() {
        let page: serde_json::Value =
            serde_json::from_str(&page().to_json().expect("plain data")).expect("just written");
        let mut names = Vec::new();
        field_names(&page, &mut names);
        // What crosses a pipe stands on no page.
        let order = serde_json::to_value(crate::start::StartOrder::default()).expect("plain data");
        names.extend(order.as_object().expect("an object").keys().cloned());
        assert!(names.len() > 100 && names.iter().any(|name| name == "nodeId"));
        // `key_ops` is the name that RFC 7517 gives it.
        names.retain(|name| name != "key_ops");
        for name in names {
            let good = name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(good, "{name}");
        }
    }
}
