// SPDX-License-Identifier: Apache-2.0
#include "witness/http.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace nodetrail::witness {
namespace {

constexpr std::string_view kEnd = "\r\n\r\n";

bool IsTokenChar(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kOthers.find(c) != std::string_view::npos;
}

bool IsToken(std::string_view text) {
  for (const char c : text) {
    if (!IsTokenChar(c)) return false;
  }
  return !text.empty();
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

HttpHead Refuse(int status) {
  HttpHead out;
  out.state = HttpHead::State::kRefused;
  out.refusal = status;
  return out;
}

std::string_view Reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 422: return "Unprocessable Content";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 505: return "HTTP Version Not Supported";
    default: return "Answer";
  }
}

// One header line into `head`; the status to refuse with, otherwise.
std::optional<int> TakeHeader(std::string_view line, bool* has_length, HttpHead* head) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon))) return 400;
  const std::string name = Lower(line.substr(0, colon));
  const std::string_view value = Trim(line.substr(colon + 1));
  for (const char c : value) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) return 400;
  }
  if (name == "content-length") {
    uint64_t bytes = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), bytes);
    if (*has_length || error != std::errc() || end != value.data() + value.size()) return 400;
    *has_length = true;
    head->body_bytes = bytes;
  } else if (name == "transfer-encoding") {
    return 501;
  } else if (name == "connection") {
    const std::string option = Lower(value);
    if (option == "close") head->keep_alive = false;
    if (option == "keep-alive") head->keep_alive = true;
  } else if (name == "expect") {
    if (Lower(value) == "100-continue") head->expects_continue = true;
  }
  return std::nullopt;
}

}  // namespace

HttpHead ParseHttpHead(std::string_view bytes) {
  const size_t end = bytes.substr(0, kMaxHeadBytes).find(kEnd);
  if (end == std::string_view::npos) return bytes.size() >= kMaxHeadBytes ? Refuse(431) : HttpHead{};
  HttpHead head;
  std::string_view text = bytes.substr(0, end + 2);  // each line ends in CRLF
  head.size = end + kEnd.size();
  const size_t first_end = text.find("\r\n");
  std::string_view line = text.substr(0, first_end);
  text.remove_prefix(first_end + 2);
  const size_t space = line.find(' ');
  const size_t last = line.rfind(' ');
  if (space == std::string_view::npos || space == last || !IsToken(line.substr(0, space))) return Refuse(400);
  const std::string_view version = line.substr(last + 1);
  if (version == "HTTP/1.1") head.keep_alive = true;
  else if (version != "HTTP/1.0") return Refuse(version.starts_with("HTTP/") ? 505 : 400);
  const std::string_view target = line.substr(space + 1, last - space - 1);
  if (target.empty() || target.front() != '/') return Refuse(400);
  for (const char c : target) {
    if (c <= 0x20 || c == 0x7f) return Refuse(400);  // also what is not ASCII
  }
  head.method = std::string(line.substr(0, space));
  head.path = std::string(target.substr(0, target.find('?')));
  bool has_length = false;
  while (!text.empty()) {
    const size_t line_end = text.find("\r\n");
    if (const auto refusal = TakeHeader(text.substr(0, line_end), &has_length, &head)) return Refuse(*refusal);
    text.remove_prefix(line_end + 2);
  }
  head.state = HttpHead::State::kComplete;
  return head;
}

std::string FormatAnswer(const HttpAnswer& answer, bool keep_alive, bool head_only) {
  std::string out = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\nX-Content-Type-Options: "
      "nosniff\r\n",
      answer.status, Reason(answer.status), answer.content_type, answer.body.size(),
      keep_alive ? "keep-alive" : "close");
  if (!answer.allow.empty()) out += fmt::format("Allow: {}\r\n", answer.allow);
  out += "\r\n";
  if (!head_only) out += answer.body;
  return out;
}

}  // namespace nodetrail::witness
