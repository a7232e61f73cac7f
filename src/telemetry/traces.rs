//! Spans for a collector, over OTLP (http/protobuf): off unless it is configured.
//!
//! Refuses to hold up a pass: spans wait in a bounded queue, are dropped when it is full, and a
//! collector that does not answer is a line in the log, once a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// How many spans wait at most; more are dropped.
const QUEUE_SPANS: usize = 2048;

/// How many go in one request.
const BATCH_SPANS: usize = 256;

/// How long spans wait to go together.
const BATCH_DELAY: Duration = Duration::from_secs(2);

/// How long the collector may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// A collector that does not answer is mentioned this often at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The collector's base URL; `/v1/traces` is added.
    pub endpoint: String,
    /// What the service is called there.
    pub service_name: String,
}

/// The way to the collector; it ends when it is stopped.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
}

impl Spans {
    /// Opens the way; nothing is sent yet, so a collector that is down is no error. Must be called
    /// inside the runtime that will do the sending.
    pub fn start(config: &OtlpConfig) -> Result<Self, String> {
        let client = reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build();
        let courier = Courier {
            client: client.map_err(|error| error.to_string())?,
            runtime: Handle::current(),
            complained: Mutex::default(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(courier)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", config.endpoint.trim_end_matches('/')))
            .with_timeout(EXPORT_TIMEOUT)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| error.to_string())?;
        let bounds = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS)
            .with_max_export_batch_size(BATCH_SPANS)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(bounds).build();
        let resource = Resource::builder_empty()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(batches)
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// What turns `tracing` spans into the collector's.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let scope = InstrumentationScope::builder("mayfly").build();
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer_with_scope(scope))
    }

    /// Sends what waits and ends; blocks for a few seconds at most, so not on the runtime.
    pub fn stop(&self) {
        // What could not be sent was complained about.
        let _ = self.provider.shutdown_with_timeout(EXPORT_TIMEOUT);
    }
}

/// Carries requests on our runtime: the exporter's own thread has none.
#[derive(Debug)]
struct Courier {
    client: reqwest::Client,
    runtime: Handle,
    complained: Mutex<Option<Instant>>,
}

impl Courier {
    /// Says that spans are being lost, once in a while.
    fn complain(&self, why: &str) {
        let now = Instant::now();
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now - last >= COMPLAIN_EVERY) {
            *last = Some(now);
            tracing::warn!("spans are lost: the collector at telemetry.otlp.endpoint {why}");
        }
    }
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                headers.clone_from(answer.headers());
            }
            Ok::<_, HttpError>(response.body(answer.bytes().await?)?)
        });
        let outcome = sent.await.map_err(HttpError::from).and_then(|sent| sent);
        match &outcome {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.complain(&format!("answered {}", answer.status())),
            Err(_) => self.complain("cannot be reached"),
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::{COMPLAIN_EVERY, Courier};

    #[tokio::test]
    async fn lost_spans_are_mentioned_once_a_minute() {
        let courier = Courier {
            client: reqwest::Client::new(),
            runtime: tokio::runtime::Handle::current(),
            complained: Mutex::default(),
        };
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let lines = said.clone();
        let writer = move || Said(lines.clone());
        let logs = tracing_subscriber::fmt().with_writer(writer).finish();
        tracing::subscriber::with_default(logs, || {
            courier.complain("is away");
            courier.complain("is away");
            assert_eq!(count(&said), 1);
            *courier.complained.lock().unwrap() = Instant::now().checked_sub(COMPLAIN_EVERY);
            courier.complain("is away");
            assert_eq!(count(&said), 2);
        });
    }

    fn count(said: &Mutex<Vec<u8>>) -> usize {
        String::from_utf8_lossy(&said.lock().unwrap()).matches("telemetry.otlp.endpoint").count()
    }

    struct Said(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
