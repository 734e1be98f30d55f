//! Ordinary log lines of the tenants, among which canaries have to be found.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::clock::Micros;
use super::super::world::World;
use super::event_copy::mix;
use super::queue::Due;

impl World {
    /// Writes one line and schedules the next.
    pub(super) fn make_noise(&mut self, tenant: usize, now: Micros) {
        let mut rng = fastrand::Rng::with_seed(mix(
            mix(self.settings.seed, tenant as u64),
            self.pipeline.noise[tenant] ^ 0x6e6f,
        ));
        if !self.is_full() {
            let stream: Arc<str> = "app/web-1".into();
            let line = noise_line(&mut rng, now);
            self.accept(tenant, &stream, now.millis(), &line, now);
        }
        // Exponential gaps, as independent requests would have.
        let gap = -(1.0 - rng.f64()).ln() / self.settings.noise_per_second;
        self.pipeline.enter(now.after(Duration::from_secs_f64(gap.clamp(0.0, 60.0))), Due::Noise(tenant));
    }
}

fn noise_line(rng: &mut fastrand::Rng, now: Micros) -> String {
    const PATHS: [&str; 6] =
        ["/api/orders", "/api/cart", "/login", "/healthz", "/api/search?q=lamp", "/static/app.js"];
    const LEVELS: [&str; 5] = ["INFO", "INFO", "INFO", "DEBUG", "WARN"];
    json!({
        "timestamp": now.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
        "level": LEVELS[rng.usize(..LEVELS.len())],
        "service": "web",
        "trace_id": format!("{:032x}", rng.u128(..)),
        "message": format!("GET {} {} in {} ms", PATHS[rng.usize(..PATHS.len())], 200 + rng.u16(..4) * 100, rng.u16(1..900)),
    })
    .to_string()
}
