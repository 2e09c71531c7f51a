//! The page `/metrics/resource` of a kubelet, in the text format of Prometheus: what a node and its containers have used.
//! <https://kubernetes.io/docs/reference/instrumentation/node-metrics/>, <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

/// The most containers that are taken from one page.
const MAX_CONTAINERS: usize = 10_000;

/// What was used until a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub at: Timestamp,
    /// Processor time since the start.
    pub cpu: Duration,
    /// Bytes that are in use now.
    pub memory: u64,
}

/// A container, by its pod and its own name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Container {
    pub namespace: String,
    pub pod: String,
    pub name: String,
}

/// One page.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub node: Option<Point>,
    /// With the time at which each container was started.
    pub containers: HashMap<Container, (Point, Option<Timestamp>)>,
}

/// Both values of a point, as far as they were read.
#[derive(Default)]
struct Partial {
    cpu: Option<(Duration, Timestamp)>,
    memory: Option<u64>,
    started: Option<Timestamp>,
}

impl Partial {
    fn take(&mut self, metric: &str, value: f64, at: Timestamp) {
        if metric.ends_with("cpu_usage_seconds_total") {
            self.cpu = Duration::try_from_secs_f64(value).ok().map(|cpu| (cpu, at));
        } else if metric.ends_with("memory_working_set_bytes") {
            self.memory = Some(value as u64);
        } else if metric == "container_start_time_seconds" {
            self.started = Timestamp::from_millisecond((value * 1e3) as i64).ok();
        }
    }

    fn point(&self) -> Option<Point> {
        let (cpu, at) = self.cpu?;
        Some(Point { at, cpu, memory: self.memory? })
    }
}

/// Reads a page that came at a moment. What is not understood is passed over.
pub(super) fn parse(text: &str, received: Timestamp) -> Page {
    let mut node = Partial::default();
    let mut containers: HashMap<Container, Partial> = HashMap::new();
    for (metric, labels, value, at) in text.lines().filter_map(sample) {
        let at = at.unwrap_or(received);
        if metric.starts_with("node_") {
            node.take(metric, value, at);
        } else if metric.starts_with("container_")
            && let Some(container) = container(labels)
            && (containers.len() < MAX_CONTAINERS || containers.contains_key(&container))
        {
            containers.entry(container).or_default().take(metric, value, at);
        }
    }
    let whole = |(container, partial): (Container, Partial)| Some((container, (partial.point()?, partial.started)));
    Page { node: node.point(), containers: containers.into_iter().filter_map(whole).collect() }
}

/// The parts of a line: a metric, its labels, its value, and the time of that if there is one.
fn sample(line: &str) -> Option<(&str, &str, f64, Option<Timestamp>)> {
    if line.starts_with('#') {
        return None;
    }
    let (metric, labels, rest) = match line.split_once('{') {
        Some((metric, rest)) => {
            let (labels, rest) = rest.rsplit_once('}')?;
            (metric, labels, rest)
        }
        None => {
            let (metric, rest) = line.split_once(' ')?;
            (metric, "", rest)
        }
    };
    let mut numbers = rest.split_whitespace();
    let value = numbers.next()?.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)?;
    let at = numbers.next().and_then(|at| Timestamp::from_millisecond(at.parse().ok()?).ok());
    Some((metric, labels, value, at))
}

fn container(labels: &str) -> Option<Container> {
    let label = |wanted: &str| {
        let mut labels = labels.split(',').filter_map(|label| label.split_once('='));
        let (_, value) = labels.find(|(name, _)| name.trim() == wanted)?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    Some(Container { namespace: label("namespace")?, pod: label("pod")?, name: label("container")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_of_the_node_and_of_containers() {
        let text = r#"# HELP node_cpu_usage_seconds_total Cumulative cpu time
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 12.5 1700000000000
node_memory_working_set_bytes 1.5e+06 1700000000000
container_cpu_usage_seconds_total{container="c",namespace="n",pod="p"} 2
container_memory_working_set_bytes{container="c",namespace="n",pod="p"} 4096
container_start_time_seconds{container="c",namespace="n",pod="p"} 1.69e+09
container_cpu_usage_seconds_total{container="half",namespace="n",pod="p"} 2
container_cpu_usage_seconds_total{container="c"} 7
nonsense{
container_memory_working_set_bytes{container="half",namespace="n",pod="p"} NaN
"#;
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let page = parse(text, now);
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(page.node, Some(Point { at, cpu: Duration::from_millis(12_500), memory: 1_500_000 }));
        let container = Container { namespace: "n".into(), pod: "p".into(), name: "c".into() };
        let point = Point { at: now, cpu: Duration::from_secs(2), memory: 4096 };
        assert_eq!(page.containers.len(), 1);
        assert_eq!(page.containers[&container], (point, Timestamp::from_second(1_690_000_000).ok()));
    }
}
