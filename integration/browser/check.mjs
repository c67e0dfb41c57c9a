// Opens a page in headless Chromium, light and dark, narrow and wide, and prints what is wrong with it as JSON: errors of
// the console, requests elsewhere, horizontal scroll, violations that axe-core finds.
// Usage: node check.mjs <chromium> <url> <folder for screenshots> <name>
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

const [chromium, url, folder, name] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
const faults = [];
const shots = [];
try {
	for (const scheme of ["light", "dark"]) {
		for (const width of [360, 1440]) {
			const page = await browser.newPage();
			const fault = (text) => faults.push(`${scheme} ${width}: ${text}`);
			page.on("console", (m) => fault(`console: ${m.type()} ${m.text()}`));
			page.on("pageerror", (e) => fault(`error: ${e.message}`));
			page.on("request", (r) => {
				if (r.url() !== url && !r.url().endsWith("/favicon.ico")) fault(`request: ${r.url()}`);
			});
			await page.setBypassCSP(false);
			await page.setViewport({ width, height: 900 });
			await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
			await page.goto(url, { waitUntil: "load" });
			const [scroll, client] = await page.evaluate(() =>
				[document.documentElement.scrollWidth, document.documentElement.clientWidth]);
			if (scroll > client) fault(`horizontal scroll: ${scroll} px in ${client} px`);
			// Through the debugger, as the page's own policy allows no script.
			await page.evaluate(axe);
			const result = await page.evaluate(() => axe.run());
			for (const v of result.violations) {
				fault(`axe: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)).join(" | ")}`);
			}
			if (result.passes.length < 10) fault(`axe ran only ${result.passes.length} rules`);
			const shot = `${folder}/${name}-${scheme}-${width}.png`;
			await page.screenshot({ path: shot, fullPage: true });
			shots.push(shot);
			await page.close();
		}
	}
} finally {
	await browser.close();
}
console.log(JSON.stringify({ faults, shots }));
