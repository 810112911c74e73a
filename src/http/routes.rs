//! A route, the scopes that open it, and its security in the document: declared together, so that none can lack one.

pub(super) mod openapi;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::error::ApiError;
use super::extract::Authenticated;
use super::rate::Rates;
use super::serve::Peer;
use super::signed::Unproven;
use crate::domain::caller::Scopes;
use crate::relay::Relay;

/// The name of the security scheme that scopes belong to.
pub(super) const SECURITY_SCHEME: &str = "token";

/// Routes under construction. There is no way to add one without saying who may call it.
pub(super) struct Routes {
    router: OpenApiRouter<Relay>,
    public: BTreeSet<String>,
    signed: BTreeSet<String>,
}

/// All routes, with what was said about them.
pub(super) struct Assembled {
    pub(super) router: Router<Relay>,
    pub(super) document: OpenApi,
    /// The paths that need no credential.
    pub(super) public: BTreeSet<String>,
    /// The paths, with the names of their parameters, to which a POST may be signed instead of having a credential.
    pub(super) signed: BTreeSet<String>,
}

impl Routes {
    pub(super) fn new(base: OpenApi) -> Self {
        Self { router: OpenApiRouter::with_openapi(base), public: BTreeSet::new(), signed: BTreeSet::new() }
    }

    /// Adds a route that these scopes open. Whoever has none of them, or sends more than its rate allows, is refused
    /// before the body is read. What the scope `integration` opens has a rate of its own.
    pub(super) fn add(mut self, scopes: Scopes, route: UtoipaMethodRouter<Relay>) -> Self {
        let (schemas, mut paths, methods) = route;
        for (path, item) in &mut paths.paths {
            for operation in operations(item) {
                operation.security = Some(security(scopes));
            }
            if scopes == Scopes::Public {
                self.public.insert(path.clone());
            }
        }
        let methods = methods.route_layer(from_fn(move |request, next| admit(scopes, request, next)));
        self.router = self.router.routes((schemas, paths, methods));
        self
    }

    /// The same for a POST that may be signed instead of having a credential. Its handler takes an
    /// [`Event`](super::signed::Event), which finds out.
    pub(super) fn add_signed(mut self, scopes: Scopes, route: UtoipaMethodRouter<Relay>) -> Self {
        self.signed.extend(route.1.paths.keys().cloned());
        self.add(scopes, route)
    }

    /// The same for what speaks another protocol and is not in the document.
    pub(super) fn add_beside(mut self, scopes: Scopes, path: &str, methods: MethodRouter<Relay>) -> Self {
        let methods = methods.route_layer(from_fn(move |request, next| admit(scopes, request, next)));
        self.router = self.router.route(path, methods);
        self
    }

    pub(super) fn assemble(self) -> Assembled {
        let (router, document) = self.router.split_for_parts();
        Assembled { router, document, public: self.public, signed: self.signed }
    }
}

async fn admit(scopes: Scopes, request: Request, next: Next) -> Response {
    // Who has no credential and whose signature is not looked at yet: the handler does, and counts.
    let is_unproven = request.extensions().get::<Unproven>().is_some();
    if scopes == Scopes::Public || is_unproven {
        return next.run(request).await;
    }
    let extensions = request.extensions();
    let (Some(caller), Some(rates)) = (extensions.get::<Authenticated>(), extensions.get::<Arc<Rates>>()) else {
        // The edge lets nobody without a credential come here.
        return ApiError::internal("a closed route was reached without a caller").into_response();
    };
    let peer = extensions.get::<Peer>().map(|peer| peer.0.ip());
    let standing = match rates.count(scopes, Some(caller), peer) {
        Some(Err(standing)) => return ApiError::rate_exceeded(standing).into_response(),
        Some(Ok(standing)) => Some(standing),
        None => None,
    };
    let refused = caller.require(scopes).err();
    let mut response = match refused {
        Some(refusal) => ApiError::from(refusal).into_response(),
        None => next.run(request).await,
    };
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    response
}

/// One alternative for each scope; none at all for what is public.
fn security(scopes: Scopes) -> Vec<SecurityRequirement> {
    scopes.iter().map(|scope| SecurityRequirement::new(SECURITY_SCHEME, [scope.as_str()])).collect()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, query, .. } = item;
    [get, put, post, delete, options, head, patch, trace, query].into_iter().flatten()
}
