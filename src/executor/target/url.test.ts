import { describe, expect, it } from "vitest";
import { PUBLIC, specialHosts, spellIpv4, spellIpv6 } from "../../../test/addresses.ts";
import { createAddressJudge } from "./address.ts";
import { checkUrl, type UrlRules } from "./url.ts";

const STRICT: UrlRules = { allowHttp: false, ports: [443, 8443], judge: createAddressJudge() };
const OPEN: UrlRules = { allowHttp: true, ports: [443, 80, 3000], judge: createAddressJudge() };

/** "ok", or the reason. */
function verdict(url: string, rules = STRICT): string {
  const checked = checkUrl(url, rules);
  return checked.kind === "ok" ? "ok" : checked.reason;
}

describe("hosts that are addresses", () => {
  it("are refused in every notation of every address that is not public", () => {
    const hosts = specialHosts();
    expect(hosts.length).toBeGreaterThan(2_000);
    for (const host of hosts) expect(["address", "malformed"], host).toContain(verdict(`https://${host}/`));
  });

  it("are refused for their address wherever the text is a URL at all", () => {
    for (const host of [...spellIpv4("127.0.0.1"), ...spellIpv4("169.254.169.254")])
      expect(verdict(`https://${host}/`), host).toBe("address");
    for (const host of spellIpv6("::1").filter((host) => !host.includes("%")))
      expect(verdict(`https://${host}/`), host).toBe("address");
  });

  it("are taken where they are public, in one notation from then on", () => {
    for (const address of PUBLIC.filter((text) => !text.includes(":")))
      for (const host of spellIpv4(address)) {
        const checked = checkUrl(`https://${host}/`, STRICT);
        expect(checked, host).toMatchObject({
          url: `https://${address}/`,
          host: address,
          addresses: [address],
        });
      }
    expect(checkUrl("https://[2606:4700:4700:0::1111]/", STRICT)).toMatchObject({
      host: "2606:4700:4700::1111",
    });
  });

  it("are refused as localhost too, but for what an operator opened of it", () => {
    for (const host of ["localhost", "LOCALHOST", "localhost.", "a.localhost", "ｌocalhost", "%6cocalhost"])
      expect(verdict(`https://${host}/`), host).toBe("address");
    const opened = { ...STRICT, judge: createAddressJudge(["127.0.0.0/8"]) };
    expect(checkUrl("https://localhost/", opened)).toMatchObject({ addresses: ["127.0.0.1"] });
  });
});

describe("a URL", () => {
  it("that is https with a name is taken, normalised and without its fragment", () => {
    expect(checkUrl("HTTPS://Exämple.com:443/a/../b?q=ü#part", STRICT)).toEqual({
      kind: "ok",
      url: "https://xn--exmple-cua.com/b?q=%C3%BC",
      host: "xn--exmple-cua.com",
      port: 443,
      isTls: true,
      addresses: null,
    });
    expect(checkUrl("https://example.com.:8443/", STRICT)).toMatchObject({ host: "example.com", port: 8443 });
  });

  it("has to be https, or http where the operator says so, and nothing else ever", () => {
    expect([verdict("http://example.com"), verdict("http://example.com", OPEN)]).toEqual(["scheme", "ok"]);
    for (const url of [
      "ftp://example.com",
      "file:///etc/passwd",
      "javascript:alert(1)",
      "data:,x",
      "ws://example.com",
      "wss://example.com",
      "gopher://127.0.0.1",
      "blob:https://example.com/x",
      "unix:/run/x.sock",
    ])
      expect([verdict(url), verdict(url, OPEN)], url).toEqual(["scheme", "scheme"]);
  });

  it("has no credentials", () => {
    for (const url of [
      "https://ada@example.com",
      "https://ada:x@example.com",
      "https://:x@example.com",
      "https://8.8.8.8@127.0.0.1/",
      "https://example.com%40@127.0.0.1/",
    ])
      expect(verdict(url), url).toBe("credentials");
  });

  it("has a port of the list", () => {
    for (const port of [0, 1, 22, 25, 80, 3000, 5432, 6379, 65535])
      expect(verdict(`https://example.com:${port}/`), `${port}`).toBe("port");
    expect(verdict("https://example.com:3000", OPEN)).toBe("ok");
    expect(verdict("http://example.com:443", OPEN)).toBe("ok");
    expect(verdict("https://example.com:0443")).toBe("ok");
  });

  it("has 2,048 characters at most, as it came and as it is normalised", () => {
    const head = "https://example.com/";
    expect(verdict(head + "a".repeat(2048 - head.length))).toBe("ok");
    expect(verdict(head + "a".repeat(2049 - head.length))).toBe("length");
    expect(verdict(head + "ü".repeat(400))).toBe("length");
    expect(verdict("a".repeat(10_000_000))).toBe("length");
  });

  it("is absolute", () => {
    for (const url of [
      "",
      " ",
      "example.com",
      "//example.com",
      "/hook",
      "https://",
      "https://?",
      "https:// x",
      "https://exa mple.com",
      "https://a^b",
      "https://[::1",
      "https://1.2.3.4.5",
      "https://256.1.1.1",
      "https://0x100000000",
      "https://99999999999",
    ])
      expect(verdict(url), url).toBe("malformed");
  });

  it("is not repeated in what is said of it", () => {
    for (const url of [
      "https://secret.example:22/",
      "secret://example.com",
      "https://secret@example.com",
      "https://10.9.8.7/secret",
    ])
      expect(JSON.stringify(checkUrl(url, STRICT)), url).not.toMatch(/secret|10\.9/);
  });
});
