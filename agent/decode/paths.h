// SPDX-License-Identifier: Apache-2.0
//
// From the tails of a record to paths. Bytes in, bytes out: a path is not
// text, and nothing here touches the file system.
#ifndef NODETRAIL_AGENT_DECODE_PATHS_H_
#define NODETRAIL_AGENT_DECODE_PATHS_H_

#include <string>
#include <string_view>

namespace nodetrail::agent {

// "probe\0tmp\0" -> "/tmp/probe"; empty -> "/". Replaces *out, keeps its capacity.
// The input is a path tail that Decode accepted.
void ReversePath(std::string_view leaf_first, std::string* out);

// The caller's string joined to `base`, the absolute path of the directory it
// is relative to (ignored if `user` is absolute). Lexical, with one aim: never
// to name another file than the kernel could have meant.
//   "." and empty components go; a trailing slash goes.
//   ".." goes together with the component before it only where that component
//   came from the kernel's walk of `base`, which holds no symbolic link, or
//   where the path is already at the root. After a component of the caller's it
//   stays as it is: "link/../x" is not "x" when link is a symbolic link.
// An empty `user` gives an empty path: the kernel refuses it.
void JoinPath(std::string_view base, std::string_view user, std::string* out);

// As JoinPath, for a walk that `base` confines (openat2 with RESOLVE_IN_ROOT):
// an absolute `user` begins at `base`, and ".." does not leave it.
void JoinPathInRoot(std::string_view base, std::string_view user, std::string* out);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_DECODE_PATHS_H_
