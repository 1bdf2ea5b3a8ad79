import { describe, expect, it } from "vitest";
import { formatAttachment, parseFilename, sanitizeFilename } from "./disposition.ts";

describe("Content-Disposition of an answer", () => {
  it.each([
    ["report.pdf", 'attachment; filename="report.pdf"'],
    ["two words.pdf", 'attachment; filename="two words.pdf"'],
    [
      "Übersicht €.pdf",
      "attachment; filename=\"_bersicht _.pdf\"; filename*=UTF-8''%C3%9Cbersicht%20%E2%82%AC.pdf",
    ],
    ['a"b\\c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"],
    ["100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"],
    ["it's (1)*é", "attachment; filename=\"it's (1)*_\"; filename*=UTF-8''it%27s%20%281%29%2A%C3%A9"],
    [
      "a\r\nSet-Cookie: x",
      "attachment; filename=\"a__Set-Cookie: x\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x",
    ],
    ["\ud800.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%EF%BF%BD.txt"],
  ])("of %j can be read by old and new clients, and holds nothing else", (name, header) => {
    expect(formatAttachment(name)).toBe(header);
  });
});

describe("Content-Disposition of a request", () => {
  it.each([
    [undefined, null],
    ["attachment", null],
    ['attachment; filename="a b.mp4"', "a b.mp4"],
    ["attachment; filename=a.mp4", "a.mp4"],
    ['attachment; FileName="quo\\"te.mp4"', 'quo"te.mp4'],
    ["attachment; filename=\"plain.mp4\"; filename*=UTF-8''%C3%BC.mp4", "ü.mp4"],
    ["attachment; filename=\"plain.mp4\"; filename*=UTF-8''%ZZ.mp4", "plain.mp4"],
  ])("%j names the file %j", (header, name) => {
    expect(parseFilename(header)).toBe(name);
  });
});

describe("a file's name", () => {
  it.each([
    ["holiday.mp4", "holiday.mp4"],
    ["../../etc/passwd", "passwd"],
    ["C:\\videos\\a.mp4", "a.mp4"],
    ["a\0b\nc.mp4", "abc.mp4"],
    ["photo\u202egpj.exe", "photogpj.exe"],
    ["..", "upload"],
    [" . ", "upload"],
    ["", "upload"],
    ["folder/", "upload"],
    ["x".repeat(300), "x".repeat(200)],
    ["\ud800", "\ufffd"],
  ])("that came as %j is kept as %j", (name, kept) => {
    expect(sanitizeFilename(name, "upload")).toBe(kept);
  });
});
