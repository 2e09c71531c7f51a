//! Images that nobody uses are removed when the disk becomes full, those first that were not used for longest.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle>

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use coracle_client::EventType;
use coracle_runtime::cri::Image;

use crate::eviction::config::ImageGc;
use crate::kubelet::Kubelet;
use crate::stats::node::FileSystem;

/// How often the disk is looked at.
const PERIOD: Duration = Duration::from_secs(300);

/// What is known of an image besides itself.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: SystemTime,
    /// When a container had it last.
    used: Option<SystemTime>,
}

/// Since when images are there, and when each was used last, by ID.
#[derive(Default)]
pub(crate) struct Known(parking_lot::Mutex<HashMap<String, Seen>>);

impl Known {
    /// Takes note of the images that there are and of those that containers have; `found` is when new ones came.
    fn note(&self, images: &[Image], in_use: &HashSet<String>, found: SystemTime, now: SystemTime) {
        let mut known = self.0.lock();
        known.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let seen = known.entry(image.id.clone()).or_insert(Seen { first: found, used: None });
            if in_use.contains(&image.id) {
                seen.used = Some(now);
            }
        }
    }

    /// The images that may go, the one first that was not used for longest, with when it was used last.
    fn candidates(&self, images: Vec<Image>, config: &ImageGc, now: SystemTime) -> Vec<(Image, SystemTime)> {
        let known = self.0.lock();
        let age = |at: SystemTime| now.duration_since(at).unwrap_or_default();
        let mut list: Vec<(Image, SystemTime, SystemTime)> = images
            .into_iter()
            .filter_map(|image| {
                let seen = known.get(&image.id)?;
                let used = seen.used.unwrap_or(UNIX_EPOCH);
                (used < now && age(seen.first) >= config.minimum_age).then_some((image, used, seen.first))
            })
            .collect();
        list.sort_by_key(|(_, used, first)| (*used, *first));
        list.into_iter().map(|(image, used, _)| (image, used)).collect()
    }
}

/// Looks at the disk now and then, for ever.
pub(crate) async fn run(k: Arc<Kubelet>) {
    // What is there already came long ago.
    if let Err(error) = note(&k, UNIX_EPOCH).await {
        tracing::warn!(error, "the images are not known");
    }
    let mut failed_before = false;
    loop {
        tokio::time::sleep(PERIOD).await;
        let result = collect(&k).await;
        if let Err(error) = &result {
            tracing::warn!(error, "image garbage collection failed");
            // Once is no news: containers may be about to free what is missing.
            if failed_before {
                k.recorder.record(k.node_reference(), EventType::Warning, "ImageGCFailed", error.clone());
            }
        }
        failed_before = result.is_err();
    }
}

/// Removes images while the disk is too full.
async fn collect(k: &Kubelet) -> Result<(), String> {
    let (config, dir) = (k.config.image_gc, k.config.image_dir.clone());
    remove_old(k).await?;
    let disk = tokio::task::spawn_blocking(move || FileSystem::of(&dir)).await.ok().flatten();
    let disk = disk.ok_or("failed to get the size of the disk that has the images")?;
    if disk.capacity == 0 {
        let message = "invalid capacity 0 on image filesystem".to_owned();
        k.recorder.record(k.node_reference(), EventType::Warning, "InvalidDiskCapacity", message.clone());
        return Err(message);
    }
    let Some(wanted) = excess(disk.available.min(disk.capacity), disk.capacity, &config) else { return Ok(()) };
    let freed = free(k, wanted).await?;
    if freed >= wanted {
        return Ok(());
    }
    let message = format!(
        "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, \
         but only found {freed} bytes eligible to free."
    );
    k.recorder.record(k.node_reference(), EventType::Warning, "FreeDiskSpaceFailed", message.clone());
    Err(message)
}

/// How many bytes are to be freed, if any.
fn excess(available: u64, capacity: u64, config: &ImageGc) -> Option<u64> {
    let part = |percent: u64| (u128::from(capacity) * u128::from(percent) / 100) as u64;
    let free_percent = u128::from(available) * 100 / u128::from(capacity.max(1));
    let used_percent = 100u128.saturating_sub(free_percent);
    let is_full = config.high_threshold_percent < 100 && used_percent >= u128::from(config.high_threshold_percent);
    let low = 100u64.saturating_sub(u64::from(config.low_threshold_percent));
    is_full.then(|| part(low).saturating_sub(available))
}

/// Removes all images that nobody uses.
///
/// # Errors
/// When the images or containers are not known, or one cannot be removed.
pub(crate) async fn delete_unused(k: &Kubelet) -> Result<u64, String> {
    free(k, u64::MAX).await
}

async fn note(k: &Kubelet, found: SystemTime) -> Result<Vec<Image>, String> {
    let images = k.images.service().list_images().await.map_err(|error| error.to_string())?;
    let containers = k.runtime.list_containers().await.map_err(|error| error.to_string())?;
    let named = |name: &str| {
        let is_it = |image: &&Image| {
            let names = image.repo_tags.iter().chain(&image.repo_digests);
            image.id == name || names.into_iter().any(|known| known == name)
        };
        images.iter().find(is_it).map(|image| image.id.clone())
    };
    let in_use = containers.iter().flat_map(|container| [&container.image, &container.image_ref]);
    let in_use: HashSet<String> = in_use.filter_map(|name| named(name)).collect();
    k.known_images.note(&images, &in_use, found, SystemTime::now());
    Ok(images)
}

async fn free(k: &Kubelet, wanted: u64) -> Result<u64, String> {
    let now = SystemTime::now();
    let images = note(k, now).await?;
    let candidates = k.known_images.candidates(images, &k.config.image_gc, now);
    let mut freed = 0u64;
    for (image, _) in candidates {
        if freed >= wanted {
            break;
        }
        remove(k, &image).await?;
        freed = freed.saturating_add(image.size);
    }
    Ok(freed)
}

async fn remove(k: &Kubelet, image: &Image) -> Result<(), String> {
    tracing::info!(id = image.id, size = image.size, "removing an image that nobody uses");
    k.images.service().remove_image(&image.id).await.map_err(|error| error.to_string())
}

/// Removes what was not used for longer than images are kept at all.
async fn remove_old(k: &Kubelet) -> Result<(), String> {
    let (config, now) = (k.config.image_gc, SystemTime::now());
    if !counts_ages(config.maximum_age, now.duration_since(k.started.into()).unwrap_or_default()) {
        return Ok(());
    }
    let images = note(k, now).await?;
    for (image, used) in k.known_images.candidates(images, &config, now) {
        let since = k.known_images.0.lock().get(&image.id).map_or(now, |seen| used.max(seen.first));
        if now.duration_since(since).unwrap_or_default() > config.maximum_age {
            remove(k, &image).await?;
        }
    }
    Ok(())
}

/// Whether images may be too old: when each was used last is known only of the time since the start.
fn counts_ages(maximum_age: Duration, running_for: Duration) -> bool {
    !maximum_age.is_zero() && running_for > maximum_age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_is_too_old_before_this_kubelet_is_as_old() {
        let seconds = Duration::from_secs;
        assert!(!counts_ages(seconds(0), seconds(100)) && !counts_ages(seconds(60), seconds(60)));
        assert!(counts_ages(seconds(60), seconds(61)));
    }

    fn image(id: &str) -> Image {
        Image { id: id.into(), ..Default::default() }
    }

    #[test]
    fn a_full_disk_is_freed_to_the_low_threshold() {
        let config = ImageGc::default();
        assert_eq!(excess(16, 100, &config), None);
        assert_eq!(excess(15, 100, &config), Some(5));
        assert_eq!(excess(0, 1000, &config), Some(200));
        assert_eq!(excess(0, 100, &ImageGc { high_threshold_percent: 100, ..config }), None);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_is_used_or_new_stays() {
        let known = Known::default();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let all = ["old", "used", "once", "new"].map(image).to_vec();
        let used = |names: &[&str]| names.iter().map(ToString::to_string).collect::<HashSet<_>>();
        known.note(&all[..3], &used(&["once"]), at(1), at(100));
        known.note(&all, &used(&["used"]), at(900), at(1000));
        let names = |now| {
            let found = known.candidates(all.clone(), &ImageGc::default(), at(now));
            found.into_iter().map(|(image, _)| image.id).collect::<Vec<_>>()
        };
        assert_eq!(names(1000), ["old", "once"]);
        // What no container ever had comes before what one had.
        assert_eq!(names(1020), ["old", "new", "once", "used"]);
    }
}
