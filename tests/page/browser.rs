//! Chromium, led by the W3C's WebDriver protocol through chromedriver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

/// What happens on the page, happens within this.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks: a page tells no driver when it changes.
const POLL: Duration = Duration::from_millis(100);

/// A browser with one window; it ends when dropped.
pub struct Browser {
    driver: Child,
    session: String,
}

impl Browser {
    /// Starts one without a screen, with further switches.
    pub fn start(switches: &[&str]) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver is installed");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let port = line.split_once("successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        });
        let url = format!("http://127.0.0.1:{}/session", port.expect("it listens"));
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Self {
            driver,
            session: url,
        };
        // Of a container's root it asks to go without its sandbox; it opens nothing but our own page.
        let mut args = vec!["--headless=new", "--no-sandbox", "--window-size=1280,1600"];
        args.extend(switches);
        let started = browser.post(
            "",
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": {"args": args},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        let id = started["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let url = format!("{}{command}", self.session);
        let answer = agent()
            .post(&url)
            .content_type("application/json")
            .send(body.to_string());
        let (status, said) = read(answer.unwrap());
        assert_eq!(status, 200, "{command}: {said:#}");
        said["value"].clone()
    }

    /// Status and answer: what was found by an earlier request may be gone.
    fn get(&self, command: &str) -> (u16, Value) {
        let url = format!("{}{command}", self.session);
        read(agent().get(&url).call().unwrap())
    }

    /// Opens a page, whole.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// What a script on the page returns.
    pub fn run(&self, script: &str, args: &[Value]) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": args }))
    }

    /// Waits until a script returns true.
    pub fn until(&self, what: &str, script: &str) {
        self.until_of(what, script, &[]);
    }

    /// The same of a script with arguments.
    pub fn until_of(&self, what: &str, script: &str, args: &[Value]) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(script, args) != true {
            let page = self.run("return document.body.innerText", &[]);
            let page = page.as_str().unwrap();
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}:\n{page}"
            );
            std::thread::sleep(POLL);
        }
    }

    /// Opens a page again and again until it has such an element.
    pub fn until_opened(&self, url: &str, selector: &str) {
        let deadline = Instant::now() + PATIENCE;
        let wanted = json!({ "using": "css selector", "value": selector });
        loop {
            self.open(url);
            let found = self.post("/elements", &wanted);
            if found.as_array().is_some_and(|found| !found.is_empty()) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "no {selector}: {}",
                self.text("body")
            );
            std::thread::sleep(POLL);
        }
    }

    /// What a person reads in an element.
    pub fn text(&self, selector: &str) -> String {
        let text = self.run(
            "return document.querySelector(arguments[0]).innerText",
            &[selector.into()],
        );
        text.as_str().unwrap().to_owned()
    }

    /// What an element is to those who hear the page.
    pub fn role(&self, selector: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let wanted = json!({ "using": "css selector", "value": selector });
        loop {
            let found = self.post("/element", &wanted);
            // The one field of a reference to an element.
            let id = found.as_object().unwrap().values().next().unwrap().as_str();
            let (status, said) = self.get(&format!("/element/{}/computedrole", id.unwrap()));
            if status == 200 {
                return said["value"].as_str().unwrap().to_owned();
            }
            // The page replaces its content about once a second, and may do so between the two requests.
            assert!(Instant::now() < deadline, "role of {selector}: {said:#}");
            std::thread::sleep(POLL);
        }
    }

    /// Presses a key where the focus is.
    pub fn press(&self, key: &str) {
        let key = match key {
            "Tab" => "\u{e004}",
            "Enter" => "\u{e007}",
            other => other,
        };
        let steps = ["keyDown", "keyUp"].map(|step| json!({ "type": step, "value": key }));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": steps });
        self.post("/actions", &json!({ "actions": [keyboard] }));
    }

    /// Sets width and height in CSS pixels, each of `scale` pixels of a screenshot.
    pub fn resize(&self, (width, height): (u32, u32), scale: f64) {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Prefers `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
    }

    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": params }),
        )
    }

    /// The window, or the whole page, as PNG.
    pub fn screenshot(&self, whole: bool) -> Vec<u8> {
        let whole = json!({ "captureBeyondViewport": whole });
        let picture = self.devtools("Page.captureScreenshot", &whole);
        let picture = picture["data"].as_str().unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(picture)
            .unwrap()
    }

    /// What the browser complained of in its console: errors of script, and what the policy refused.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let severe = |entry: &&Value| entry["level"] == "SEVERE";
        let entries = log.as_array().unwrap().iter().filter(severe);
        entries
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Leaves the status of an answer to the caller, and waits for it no longer than for the page.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

/// Status and text of an answer.
fn read(mut answer: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let text = answer.body_mut().read_to_string().unwrap();
    let said = serde_json::from_str(&text).unwrap();
    (answer.status().as_u16(), said)
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser too, which chromedriver started.
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
