//! Requests: how many, how long they took, and how much was answered.
//!
//! What is counted of one verb at one resource is found by one look at a table, and then costs a few atomic additions.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use coracle_metrics::{Counter, Family, Histogram, Page, Registry, Value, exponential};
use http::StatusCode;
use smol_str::SmolStr;

use super::{DURATIONS, OBJECTIVES};
use crate::authz::Attributes;

const LABELS: [&str; 7] = ["verb", "group", "version", "resource", "subresource", "scope", "component"];

/// The codes that are told apart. Another one, which only what is reached by `proxy` may answer, counts as the first of its
/// hundred.
const CODES: [u16; 29] = [
    100, 101, 200, 201, 202, 204, 206, 300, 301, 302, 304, 307, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422,
    429, 500, 502, 503, 504, 507,
];

/// Of what sort a request is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a>([&'a str; 7]);

impl<'a> Asked<'a> {
    /// One about a resource that is answered here. The verb is as metrics know it.
    pub fn of(verb: &'static str, what: &Attributes<'a>) -> Asked<'a> {
        let scope = match what {
            what if !what.name.is_empty() || what.verb == "create" => "resource",
            what if !what.namespace.is_empty() => "namespace",
            _ => "cluster",
        };
        Asked([verb, what.group, what.version, what.resource, what.subresource, scope, "apiserver"])
    }

    /// One about something else. Only a few paths are told apart, as anybody may ask for any.
    pub fn of_path(verb: &'static str, path: &str) -> Asked<'a> {
        let known = ["/healthz", "/livez", "/readyz"];
        let path = known.into_iter().find(|known| *known == path).unwrap_or_default();
        Asked([verb, "", "", "", path, "", "apiserver"])
    }

    /// One that another server answers, which counts it.
    pub fn elsewhere(verb: &'static str) -> Asked<'a> {
        Asked([verb, "", "", "", "", "", "aggregator"])
    }

    /// The verb of a request as metrics know it.
    pub fn verb(what: &Attributes<'_>, method: &http::Method, applies: bool) -> &'static str {
        if matches!(what.subresource, "exec" | "attach" | "portforward" | "proxy" | "log") {
            return "CONNECT";
        }
        match what.verb {
            "list" => "LIST",
            "watch" => "WATCH",
            "deletecollection" => "DELETECOLLECTION",
            "patch" if applies => "APPLY",
            _ => match *method {
                http::Method::GET => "GET",
                http::Method::HEAD => "HEAD",
                http::Method::POST => "POST",
                http::Method::PUT => "PUT",
                http::Method::PATCH => "PATCH",
                http::Method::DELETE => "DELETE",
                http::Method::OPTIONS => "OPTIONS",
                _ => "other",
            },
        }
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub code: StatusCode,
    pub dry_run: bool,
    /// It lasts: how long says nothing.
    pub long_running: bool,
    pub took: Duration,
    /// How much of that was waiting for webhooks.
    pub elsewhere: Duration,
    /// How many bytes, where that is known beforehand.
    pub size: Option<u64>,
}

/// What is counted of one sort.
struct Sort {
    codes: [[Counter; CODES.len()]; 2],
    durations: [OnceLock<Histogram>; 2],
    objectives: OnceLock<Histogram>,
    sizes: OnceLock<Histogram>,
    lasting: AtomicI64,
}

impl Default for Sort {
    fn default() -> Sort {
        let codes = || std::array::from_fn(|_| Counter::default());
        Sort {
            codes: [codes(), codes()],
            durations: Default::default(),
            objectives: OnceLock::new(),
            sizes: OnceLock::new(),
            lasting: AtomicI64::new(0),
        }
    }
}

impl Sort {
    fn count(&self, answered: &Answered) {
        let (code, dry_run) = (answered.code.as_u16(), usize::from(answered.dry_run));
        let place = |code| CODES.binary_search(&code).ok();
        let place = place(code).or_else(|| place(code.checked_div(100)?.checked_mul(100)?));
        if let Some(counter) = self.codes.get(dry_run).zip(place).and_then(|(codes, place)| codes.get(place)) {
            counter.inc();
        }
        if answered.long_running {
            return;
        }
        if let Some(durations) = self.durations.get(dry_run) {
            durations.get_or_init(|| Histogram::new(&DURATIONS)).observe(answered.took.as_secs_f64());
        }
        let own = answered.took.saturating_sub(answered.elsewhere);
        self.objectives.get_or_init(|| Histogram::new(&OBJECTIVES)).observe(own.as_secs_f64());
        if let Some(size) = answered.size {
            self.sizes.get_or_init(|| Histogram::new(&exponential(1000.0, 10.0, 7))).observe(size as f64);
        }
    }
}

/// A request that lasts, counted among those until it is over.
pub(crate) struct LongRunning(Arc<Sort>);

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.lasting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is counted of all sorts.
pub(crate) struct Requests(Arc<Family<Sort, 7>>);

impl Requests {
    pub fn register(registry: &Registry) -> Requests {
        let sorts = Arc::new(Family::new(LABELS));
        let shown = sorts.clone();
        registry.show(move |page| show(&shown, page));
        Requests(sorts)
    }

    /// A request was answered. Only sizes of what is read are told.
    pub fn count(&self, asked: Asked<'_>, answered: &Answered) {
        let reads = matches!(asked.0, ["GET" | "LIST", ..]);
        let size = answered.size.filter(|_| reads);
        self.0.with(asked.0, |sort| sort.count(&Answered { size, ..*answered }));
    }

    /// A request began that lasts.
    pub fn lasts(&self, asked: Asked<'_>) -> LongRunning {
        let sort = self.0.get(asked.0);
        sort.lasting.fetch_add(1, Ordering::Relaxed);
        LongRunning(sort)
    }
}

/// The labels of one sort.
type Named<'a> = Vec<(&'a str, &'a str)>;

fn show(sorts: &Family<Sort, 7>, page: &mut Page) {
    const DRY_RUN: [&str; 2] = ["", "All"];
    let all = sorts.all();
    let named = |labels, more: &[(&'static str, &'static str)]| -> Named<'_> {
        sorts.named(labels).into_iter().chain(more.iter().copied()).collect()
    };
    let name = "apiserver_request_total";
    page.family(name, "counter", "Requests by what was asked and what came of it");
    for (labels, sort) in &all {
        for (dry_run, codes) in DRY_RUN.into_iter().zip(&sort.codes) {
            for (code, count) in CODES.iter().zip(codes).filter(|(_, count)| count.get() > 0) {
                let code = SmolStr::from(code.to_string());
                let mut labels = named(labels, &[("dry_run", dry_run)]);
                labels.push(("code", &code));
                page.sample(name, &labels, count.get());
            }
        }
    }
    let name = "apiserver_request_duration_seconds";
    page.family(name, "histogram", "Seconds until requests were answered that do not last");
    for (labels, sort) in &all {
        for (dry_run, durations) in DRY_RUN.into_iter().zip(&sort.durations) {
            durations.get().inspect(|durations| durations.write(name, &named(labels, &[("dry_run", dry_run)]), page));
        }
    }
    let histograms = [
        (
            "apiserver_request_sli_duration_seconds",
            "The same without waiting for webhooks",
            (|sort: &Sort| sort.objectives.get()) as fn(&Sort) -> Option<&Histogram>,
        ),
        ("apiserver_response_sizes", "Bytes of answers to who reads", |sort| sort.sizes.get()),
    ];
    for (name, help, of) in histograms {
        page.family(name, "histogram", help);
        for (labels, sort) in &all {
            of(sort).inspect(|histogram| histogram.write(name, &named(labels, &[]), page));
        }
    }
    let name = "apiserver_longrunning_requests";
    page.family(name, "gauge", "Watches, logs and connections to pods that go on now");
    for (labels, sort) in &all {
        if matches!(labels[0].as_str(), "WATCH" | "CONNECT") {
            page.sample(name, &named(labels, &[]), sort.lasting.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_what_they_are_about() {
        assert!(CODES.is_sorted());
        let registry = Registry::new();
        let requests = Requests::register(&registry);
        let attributes = Attributes::resource("get", "apps", "deployments", "n", "d");
        let attributes = Attributes { version: "v1", ..attributes };
        let asked = Asked::of(Asked::verb(&attributes, &http::Method::GET, false), &attributes);
        let answered = Answered {
            code: StatusCode::OK,
            dry_run: false,
            long_running: false,
            took: Duration::from_millis(60),
            elsewhere: Duration::from_millis(20),
            size: Some(2000),
        };
        requests.count(asked, &answered);
        requests.count(asked, &Answered { code: StatusCode::IM_A_TEAPOT, dry_run: true, ..answered });
        let lasting = requests.lasts(Asked::of("WATCH", &attributes));
        let text = || {
            let mut page = Page::default();
            registry.write(&mut page);
            page.into_text()
        };
        let labels = "verb=\"GET\",group=\"apps\",version=\"v1\",resource=\"deployments\",subresource=\"\",scope=\"resource\",component=\"apiserver\"";
        for line in [
            format!("apiserver_request_total{{{labels},dry_run=\"\",code=\"200\"}} 1\n"),
            format!("apiserver_request_total{{{labels},dry_run=\"All\",code=\"400\"}} 1\n"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},dry_run=\"\",le=\"0.05\"}} 0\n"),
            format!("apiserver_request_sli_duration_seconds_bucket{{{labels},le=\"0.05\"}} 2\n"),
            format!("apiserver_response_sizes_sum{{{labels}}} 4000\n"),
        ] {
            assert!(text().contains(&line), "{line}{}", text());
        }
        assert!(text().contains("longrunning_requests{verb=\"WATCH\"") && text().contains("\"apiserver\"} 1\n"));
        drop(lasting);
        assert!(text().contains("component=\"apiserver\"} 0\n"));
    }

    #[test]
    fn nobody_makes_up_labels() {
        assert_eq!(Asked::of_path("GET", "/whatever").0, ["GET", "", "", "", "", "", "apiserver"]);
        assert_eq!(Asked::of_path("GET", "/readyz").0[4], "/readyz");
    }
}
