import { expect, it } from "vitest";
import { openTestDoor } from "../../test/open-door.ts";
it("x", async () => {
  const door = await openTestDoor();
  for (const body of ["", "--b\r\n\r\nhello\r\n--b--\r\n", "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--\r\n", "--b--\r\n", "--b\r\n--b--\r\n", "--b\r\nContent-Dis\r\n--b--\r\n", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b--\r\n","--b\r\nContent-Disposition: form-data; name=text\r\n\r\na\r\n--b--\r\n--b\r\nfoo"]) {
   for (const op of ["film","watch"]) {
    const a = await door.ask("/operations/"+op, { method: "POST", body, headers: { "content-type": "multipart/form-data; boundary=b" } });
    console.log(op, JSON.stringify(body), a.status, a.json?.detail, JSON.stringify(a.json?.errors));
  }}
  await door.close();
  expect(1).toBe(1);
});
