// What a caller may write as the path of something below a folder: the part of the check that needs no disk.

/**
 * Matches a relative path such as `clips/a.mp4`: segments between single slashes, none of them `.` or `..`; no leading
 * slash or drive letter, no backslash, no control character (NUL among them). As a schema's pattern it has a bad path
 * answered 422 before the job is accepted; `pathBelow` checks it again together with the symbolic links on the disk.
 */
export const RELATIVE_PATH =
  /^(?![A-Za-z]:)(?!\.{1,2}(?:\/|$))[^/\\\p{Cc}]+(?:\/(?!\.{1,2}(?:\/|$))[^/\\\p{Cc}]+)*$/u;
