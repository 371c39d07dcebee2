// SPDX-License-Identifier: Apache-2.0
#include "collector/index/predicate.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::collector {
namespace {

using event::v1::Event;
using expr::Node;
using expr::Term;
using schema::FieldId;
using schema::FieldType;
using Op = Term::Op;

// Fewer rows than this are fetched by an index and sorted; more, and walking
// the index by time meets matches soon enough.
constexpr int64_t kSelective = 20'000;
constexpr size_t kInlineIds = 64;

// One way for a term to hold, as a condition on ev.
struct Atom {
  std::string where;
  std::string index;  // that finds its rows; empty: none does
};

struct TermSql {
  std::vector<Atom> atoms;  // the term holds if any does; none: never
  bool exact = true;
  bool all = false;  // says nothing: every row may match
};

// The ids of dictionary strings that a term is about.
struct StringSets {
  std::vector<int64_t> text;
  std::vector<int64_t> address;  // bare words: addresses whose printed form matches
};

class Compiler {
 public:
  Compiler(Db* db, int64_t low, int64_t high) : db_(db), low_(low), high_(high) {}

  Result<Predicate> Run(const Node& query) {
    std::vector<const Term*> terms;
    CollectTerms(query, &terms);
    NT_RETURN_IF_ERROR(ResolveStrings(terms));
    for (const Term* term : terms) {
      NT_ASSIGN_OR_RETURN(compiled_[term], CompileTerm(*term));
    }
    Predicate out;
    out.where = Where(query, /*widen=*/true, &(out.exact = true));
    NT_ASSIGN_OR_RETURN(auto plan, BestPlan(query));
    if (plan && plan->rows < kSelective) out.drivers = std::move(plan->drivers);
    return out;
  }

 private:
  struct Plan {
    int64_t rows = 0;
    std::vector<std::string> drivers;
  };

  static void CollectTerms(const Node& node, std::vector<const Term*>* out) {
    if (node.kind == Node::Kind::kTerm) out->push_back(&node.term);
    for (const auto& child : node.children) CollectTerms(child, out);
  }

  // --- strings ---

  static bool NeedsStrings(const Term& term) {
    return term.op != Op::kNumber && term.op != Op::kKind && term.op != Op::kAny && term.op != Op::kUnset;
  }

  // A literal that is the only text that can match; nullopt if more can.
  static std::vector<std::string> Literals(const Term& term) {
    if (term.bare) return {};
    if (term.op == Op::kId && term.hex.size() % 2 == 0 && term.hex.size() >= 32) {
      if (auto bytes = schema::Unhex(term.hex)) return {*bytes};
    }
    if (term.op == Op::kAddress && term.block.bits == 128) {
      std::vector<std::string> out = {term.block.network};
      if (term.block.network.starts_with(schema::NormaliseIp(std::string(4, '\0')).substr(0, 12))) {
        out.push_back(term.block.network.substr(12));
      }
      return out;
    }
    if (term.op != Op::kText && term.op != Op::kUser) return {};
    if (term.field == FieldId::kArg || !term.pattern.IsLiteral()) return {};
    if (term.type == FieldType::kPath && (!term.pattern.HasByte('/') || term.pattern.EndsWith('/'))) return {};
    return {term.pattern.Literal()};
  }

  // What every matching text begins with; "" if nothing is known.
  static std::string Prefix(const Term& term) {
    if (term.bare || term.field == FieldId::kArg) return {};
    if (term.op == Op::kId) return schema::Unhex(term.hex.substr(0, term.hex.size() / 2 * 2)).value_or("");
    if (term.op == Op::kAddress || term.op == Op::kAddressText) return {};
    // Without a slash the last component may match.
    if (term.type == FieldType::kPath && !term.pattern.HasByte('/')) return {};
    return term.pattern.Prefix();
  }

  static bool IsIp(std::string_view bytes) { return bytes.size() == 4 || bytes.size() == 16; }

  static bool StringMatches(const Term& term, std::string_view text) {
    switch (term.op) {
      case Op::kId: return schema::Hex(text).starts_with(term.hex);
      case Op::kAddress: return term.block.Contains(text);
      case Op::kAddressText: return IsIp(text) && term.pattern.Matches(schema::FormatIp(text));
      default:
        if (term.field == FieldId::kArg && !term.bare) {
          // An argument is part of the command line.
          return text.find(term.pattern.LongestLiteral()) != std::string_view::npos;
        }
        if (term.type == FieldType::kPath && !term.bare) return expr::PathMatches(term.pattern, text);
        return term.pattern.Matches(text);
    }
  }

  Status ResolveStrings(const std::vector<const Term*>& terms) {
    std::vector<const Term*> scan;
    for (const Term* term : terms) {
      if (!NeedsStrings(*term)) continue;
      auto& set = sets_[term];
      const auto literals = Literals(*term);
      if (!literals.empty()) {
        NT_ASSIGN_OR_RETURN(auto get, db_->Prepare("SELECT id FROM str WHERE val = ?1"));
        for (const auto& literal : literals) {
          get.Reset();
          NT_ASSIGN_OR_RETURN(const bool has, get.BindBlob(1, literal).Step());
          if (has) set.text.push_back(get.Int(0));
        }
        continue;
      }
      const std::string prefix = Prefix(*term);
      if (prefix.empty()) {
        scan.push_back(term);
        continue;
      }
      NT_ASSIGN_OR_RETURN(auto get, db_->Prepare("SELECT id, val FROM str WHERE val >= ?1"));
      get.BindBlob(1, prefix);
      while (true) {
        NT_ASSIGN_OR_RETURN(const bool row, get.Step());
        if (!row || !get.Blob(1).starts_with(prefix)) break;
        if (StringMatches(*term, get.Blob(1))) set.text.push_back(get.Int(0));
      }
    }
    if (scan.empty()) return OkStatus();
    NT_ASSIGN_OR_RETURN(auto all, db_->Prepare("SELECT id, val FROM str"));
    while (true) {
      NT_ASSIGN_OR_RETURN(const bool row, all.Step());
      if (!row) break;
      const std::string_view text = all.Blob(1);
      for (const Term* term : scan) {
        if (StringMatches(*term, text)) sets_[term].text.push_back(all.Int(0));
        if (term->bare && IsIp(text) && term->pattern.Matches(schema::FormatIp(text))) {
          sets_[term].address.push_back(all.Int(0));
        }
      }
    }
    return OkStatus();
  }

  // "(1,2,3)" or the name of a temporary table; "" if there are no ids.
  Result<std::string> IdList(const std::vector<int64_t>& ids) {
    if (ids.empty()) return std::string();
    if (ids.size() <= kInlineIds) return fmt::format("({})", fmt::join(ids, ","));
    const std::string table = fmt::format("temp.s{}", ++tables_);
    NT_RETURN_IF_ERROR(db_->Exec(fmt::format("CREATE TABLE {}(id INTEGER PRIMARY KEY)", table)));
    NT_ASSIGN_OR_RETURN(auto put, db_->Prepare(fmt::format("INSERT OR IGNORE INTO {} VALUES(?1)", table)));
    for (const int64_t id : ids) NT_RETURN_IF_ERROR(put.Bind(1, id).Run());
    return table;
  }

  // --- terms ---

  // Rows whose process image satisfies `where` (over img).
  Result<Atom> ImageAtom(const std::string& where) {
    NT_ASSIGN_OR_RETURN(auto get, db_->Prepare("SELECT id FROM img WHERE " + where));
    std::vector<int64_t> ids;
    while (true) {
      NT_ASSIGN_OR_RETURN(const bool row, get.Step());
      if (!row) break;
      ids.push_back(get.Int(0));
    }
    NT_ASSIGN_OR_RETURN(const auto list, IdList(ids));
    return Atom{list.empty() ? "0" : fmt::format("img IN {} AND img <> 0", list), "ev_img"};
  }

  static std::string IntervalSql(std::string_view column, const expr::Interval& interval) {
    if (interval.low == interval.high) return fmt::format("{} = {}", column, interval.low);
    // The least integer is no literal in SQL; below it there is nothing anyway.
    std::string out;
    if (interval.low != std::numeric_limits<int64_t>::min()) out = fmt::format("{} >= {}", column, interval.low);
    if (interval.high != std::numeric_limits<int64_t>::max()) {
      out += fmt::format("{}{} <= {}", out.empty() ? "" : " AND ", column, interval.high);
    }
    return out.empty() ? "1" : out;
  }

  // Columns of ev that hold a text field, each with a partial index.
  static std::vector<std::string_view> TextColumns(FieldId field) {
    switch (field) {
      case FieldId::kNode: return {"agent", "host"};
      case FieldId::kAgent: return {"agent"};
      case FieldId::kHost: return {"host"};
      case FieldId::kUser: return {"user", "euser", "luser"};
      case FieldId::kLogin: return {"luser"};
      case FieldId::kGroup: return {"grp"};
      case FieldId::kProc: return {"proc"};
      case FieldId::kChild: return {"child"};
      case FieldId::kPath: return {"path", "path2"};
      case FieldId::kNewPath: return {"path2"};
      case FieldId::kAddr: return {"raddr", "laddr"};
      case FieldId::kRemoteAddr: return {"raddr"};
      case FieldId::kLocalAddr: return {"laddr"};
      case FieldId::kReason: return {"reason"};
      case FieldId::kStage: return {"stage"};
      default: return {};
    }
  }

  // Column of img that holds a text field; "" if none.
  static std::string_view ImageTextColumn(FieldId field) {
    switch (field) {
      case FieldId::kParent: return "parent";
      case FieldId::kComm: return "comm";
      case FieldId::kExe: return "exe";
      case FieldId::kScript: return "script";
      case FieldId::kCmd:
      case FieldId::kArg: return "cmd";
      case FieldId::kCwd: return "cwd";
      case FieldId::kTty: return "tty";
      case FieldId::kContainer: return "cont";
      case FieldId::kRuntime: return "runtime";
      case FieldId::kPod: return "pod";
      case FieldId::kCgroup: return "cgroup";
      default: return {};
    }
  }

  static std::string IndexOf(std::string_view column) {
    return column == "grp" ? std::string() : fmt::format("ev_{}", column);
  }

  struct NumberColumn {
    std::string_view name;
    std::string_view present;  // condition that the value is there; empty: always
    std::string_view index;
  };
  static std::vector<NumberColumn> NumberColumns(FieldId field) {
    switch (field) {
      case FieldId::kTime: return {{"t", "", "ev_t"}};
      case FieldId::kEpoch: return {{"epoch", "", ""}};
      case FieldId::kSeq: return {{"seq", "", ""}};
      case FieldId::kTid: return {{"tid", "tid >= 0", ""}};
      case FieldId::kOutcome:
      case FieldId::kSuccess: return {{"ok", "", ""}};
      case FieldId::kErrno: return {{"err", "err <> 0", "ev_err"}};
      case FieldId::kUser:
        return {{"uid", "uid >= 0", "ev_uid"}, {"euid", "euid <> uid", "ev_euid"}, {"login", "login >= 0", "ev_login"}};
      case FieldId::kLogin: return {{"login", "login >= 0", "ev_login"}};
      case FieldId::kGroup: return {{"gid", "gid >= 0", ""}};
      case FieldId::kUid: return {{"uid", "uid >= 0", "ev_uid"}};
      case FieldId::kEuid: return {{"euid", "euid >= 0", ""}};
      case FieldId::kGid: return {{"gid", "gid >= 0", ""}};
      case FieldId::kLoginUid: return {{"login", "login >= 0", "ev_login"}};
      case FieldId::kSession: return {{"ses", "ses >= 0", "ev_ses"}};
      case FieldId::kPort: return {{"rport", "rport >= 0", "ev_rport"}, {"lport", "lport >= 0", "ev_lport"}};
      case FieldId::kRemotePort: return {{"rport", "rport >= 0", "ev_rport"}};
      case FieldId::kLocalPort: return {{"lport", "lport >= 0", "ev_lport"}};
      case FieldId::kExitCode: return {{"code", "code >= 0", ""}};
      case FieldId::kSignal: return {{"sig", "sig >= 0", ""}};
      case FieldId::kDuration: return {{"dur", "dur >= 0", ""}};
      case FieldId::kInode: return {{"ino", "ino >= 0", ""}};
      case FieldId::kBytesSent: return {{"sent", "sent >= 0", ""}};
      case FieldId::kBytesReceived: return {{"recv", "recv >= 0", ""}};
      default: return {};
    }
  }

  // Bodies that alone can have a value for the field; empty: any.
  static std::vector<int> BodiesWith(FieldId field) {
    switch (field) {
      case FieldId::kCause: return {Event::kCredChange};
      case FieldId::kOldUid:
      case FieldId::kOldEuid: return {Event::kCredChange, Event::kExec};
      case FieldId::kChildPid: return {Event::kFork};
      case FieldId::kProtocol:
      case FieldId::kFamily:
      case FieldId::kSocketType:
      case FieldId::kPeerPid:
      case FieldId::kPeerUid:
      case FieldId::kPeerExe:
      case FieldId::kDirection: return {Event::kNet};
      case FieldId::kSyscall: return {Event::kFile, Event::kCall};
      case FieldId::kPathSource: return {Event::kFile, Event::kCall, Event::kNet};
      case FieldId::kFlags:
      case FieldId::kNewPath: return {Event::kFile};
      case FieldId::kDevice:
      case FieldId::kMode:
      case FieldId::kFileUid: return {Event::kFile, Event::kExec};
      case FieldId::kCount: return {Event::kAgent};
      default: return {};
    }
  }

  TermSql Widened(FieldId field) const {
    TermSql out;
    out.exact = false;
    const auto bodies = BodiesWith(field);
    if (bodies.empty()) out.all = true;
    else out.atoms.push_back({fmt::format("body IN ({})", fmt::join(bodies, ",")), ""});
    return out;
  }

  static TermSql All() {
    TermSql out;
    out.all = true;
    out.exact = false;
    return out;
  }

  Result<TermSql> CompileTerm(const Term& term) {
    if (term.bare) return CompileBare(term);
    switch (term.op) {
      case Op::kKind: {
        TermSql out;
        out.atoms.push_back({fmt::format("kind IN ({})", fmt::join(term.kinds, ",")), "ev_kind"});
        return out;
      }
      case Op::kAny:
      case Op::kUnset: return CompilePresence(term);
      case Op::kNumber: return CompileNumber(term);
      default: break;
    }
    TermSql out;
    if (term.field == FieldId::kEventId) return CompileEventId(term);
    const auto columns = TextColumns(term.field);
    const auto image_column = ImageTextColumn(term.field);
    NT_ASSIGN_OR_RETURN(const auto list, IdList(sets_[&term].text));
    if (!columns.empty()) {
      out.exact = term.field != FieldId::kNewPath;
      for (const auto column : columns) {
        if (list.empty()) break;
        out.atoms.push_back({fmt::format("{0} IN {1} AND {0} <> 0", column, list), IndexOf(column)});
      }
    } else if (!image_column.empty()) {
      out.exact = term.field != FieldId::kArg;
      if (!list.empty()) {
        NT_ASSIGN_OR_RETURN(auto atom, ImageAtom(fmt::format("{0} IN {1} AND {0} <> 0", image_column, list)));
        out.atoms.push_back(std::move(atom));
      }
    } else if (term.field == FieldId::kAncestor || term.field == FieldId::kAncestorExe) {
      if (!list.empty()) {
        NT_ASSIGN_OR_RETURN(auto atom,
                            ImageAtom(fmt::format("chain <> 0 AND chain IN (SELECT chain FROM anc WHERE {} IN {})",
                                                  term.field == FieldId::kAncestor ? "proc" : "exe", list)));
        out.atoms.push_back(std::move(atom));
      }
    } else {
      return Widened(term.field);
    }
    if (term.op == Op::kUser && term.has_number) AddNumberAtoms(term, &out);
    return out;
  }

  static void AddNumberAtoms(const Term& term, TermSql* out) {
    for (const auto& column : NumberColumns(term.field)) {
      std::string where = IntervalSql(column.name, term.interval);
      if (!column.present.empty()) where += fmt::format(" AND {}", column.present);
      // A wide interval over an index is no better than a scan; the estimate says so.
      out->atoms.push_back({std::move(where), std::string(column.index)});
    }
  }

  Result<TermSql> CompileNumber(const Term& term) {
    TermSql out;
    if (term.field == FieldId::kLogIndex) {
      constexpr int64_t kMaxLeaf = std::numeric_limits<int64_t>::max() >> 20;
      const int64_t low = std::clamp<int64_t>(term.interval.low, 0, kMaxLeaf);
      const int64_t high = std::clamp<int64_t>(term.interval.high, -1, kMaxLeaf);
      out.atoms.push_back({fmt::format("(pos >> 20) BETWEEN {} AND {}", low, high), ""});
      out.exact = false;
      return out;
    }
    if (term.field == FieldId::kPid || term.field == FieldId::kPpid || term.field == FieldId::kComplete) {
      const auto column = term.field == FieldId::kPid ? "pid" : term.field == FieldId::kPpid ? "ppid" : "complete";
      NT_ASSIGN_OR_RETURN(auto atom, ImageAtom(IntervalSql(column, term.interval)));
      out.atoms.push_back(std::move(atom));
      return out;
    }
    AddNumberAtoms(term, &out);
    if (out.atoms.empty()) return Widened(term.field);
    return out;
  }

  Result<TermSql> CompilePresence(const Term& term) {
    std::vector<std::string> present;
    const auto numbers = NumberColumns(term.field);
    for (const auto& column : numbers) {
      // euid <> uid is where an index helps, not where a value is.
      if (term.field == FieldId::kUser && column.name == "euid") continue;
      if (!column.present.empty()) present.emplace_back(column.present);
    }
    for (const auto column : TextColumns(term.field)) present.push_back(fmt::format("{} <> 0", column));
    if (const auto column = ImageTextColumn(term.field);
        !column.empty() && term.field != FieldId::kArg && term.field != FieldId::kCmd) {
      NT_ASSIGN_OR_RETURN(auto atom, ImageAtom(fmt::format("{} <> 0", column)));
      present.push_back(std::move(atom.where));
    }
    if (present.empty() || term.field == FieldId::kNewPath) {
      return term.op == Op::kAny ? Widened(term.field) : All();
    }
    TermSql out;
    std::string any;
    for (const auto& condition : present) any += fmt::format("{}({})", any.empty() ? "" : " OR ", condition);
    out.atoms.push_back({term.op == Op::kAny ? any : fmt::format("NOT ({})", any), ""});
    return out;
  }

  Result<TermSql> CompileEventId(const Term& term) {
    if (!term.pattern.IsLiteral()) return All();
    TermSql out;
    const auto id = schema::ParseEventId(term.pattern.Literal());
    if (!id) return out;
    NT_ASSIGN_OR_RETURN(auto get, db_->Prepare("SELECT id FROM str WHERE val = ?1"));
    NT_ASSIGN_OR_RETURN(const bool has, get.BindBlob(1, id->agent_id).Step());
    if (!has) return out;
    out.exact = false;
    out.atoms.push_back({fmt::format("agent = {} AND agent <> 0 AND epoch = {} AND seq = {}", get.Int(0),
                                     static_cast<int64_t>(id->epoch), static_cast<int64_t>(id->seq)),
                         "ev_agent"});
    return out;
  }

  // The columns of schema::GetMainText.
  Result<TermSql> CompileBare(const Term& term) {
    TermSql out;
    std::vector<int> kinds;
    for (const auto kind : schema::AllKinds()) {
      if (term.pattern.Matches(schema::KindLabel(kind))) kinds.push_back(kind);
    }
    if (!kinds.empty()) out.atoms.push_back({fmt::format("kind IN ({})", fmt::join(kinds, ",")), "ev_kind"});
    NT_ASSIGN_OR_RETURN(const auto list, IdList(sets_[&term].text));
    if (!list.empty()) {
      for (const char* column : {"agent", "host", "user", "euser", "luser", "path", "path2", "reason", "stage"}) {
        out.atoms.push_back({fmt::format("{0} IN {1} AND {0} <> 0", column, list), IndexOf(column)});
      }
      NT_ASSIGN_OR_RETURN(auto atom,
                          ImageAtom(fmt::format("exe IN {0} OR script IN {0} OR comm IN {0} OR cmd IN {0} OR "
                                                "cont IN {0}",
                                                list)));
      out.atoms.push_back(std::move(atom));
    }
    NT_ASSIGN_OR_RETURN(const auto addresses, IdList(sets_[&term].address));
    if (!addresses.empty()) {
      for (const char* column : {"raddr", "laddr"}) {
        out.atoms.push_back({fmt::format("{0} IN {1} AND {0} <> 0", column, addresses), IndexOf(column)});
      }
    }
    return out;
  }

  // --- trees ---

  // `widen`: a superset of what matches; else a subset (below a negation).
  std::string Where(const Node& node, bool widen, bool* exact) {
    switch (node.kind) {
      case Node::Kind::kTrue: return "1";
      case Node::Kind::kNot: return fmt::format("NOT ({})", Where(node.children.front(), !widen, exact));
      case Node::Kind::kTerm: {
        const auto& sql = compiled_[&node.term];
        if (!sql.exact) *exact = false;
        if (!sql.exact && !widen) return "0";
        if (sql.all) return "1";
        if (sql.atoms.empty()) return "0";
        std::string out;
        for (const auto& atom : sql.atoms) out += fmt::format("{}({})", out.empty() ? "" : " OR ", atom.where);
        return out;
      }
      case Node::Kind::kAnd:
      case Node::Kind::kOr: {
        std::string out;
        for (const auto& child : node.children) {
          out += fmt::format("{}({})",
                             out.empty()                     ? ""
                             : node.kind == Node::Kind::kAnd ? " AND "
                                                             : " OR ",
                             Where(child, widen, exact));
        }
        return out;
      }
    }
    return "1";
  }

  Result<int64_t> Count(const Atom& atom) {
    NT_ASSIGN_OR_RETURN(auto stmt,
                        db_->Prepare(fmt::format("SELECT count(*) FROM (SELECT 1 FROM ev INDEXED BY {} WHERE {} "
                                                 "AND t BETWEEN {} AND {} LIMIT {})",
                                                 atom.index, atom.where, low_, high_, kSelective)));
    NT_ASSIGN_OR_RETURN(const bool row, stmt.Step());
    return row ? stmt.Int(0) : 0;
  }

  // The cheapest way to all candidates by indexes; nothing if there is none.
  Result<std::optional<Plan>> BestPlan(const Node& node) {
    if (node.kind == Node::Kind::kTerm) {
      const auto& sql = compiled_[&node.term];
      if (sql.all) return std::optional<Plan>();
      Plan plan;
      for (const auto& atom : sql.atoms) {
        if (atom.where == "0") continue;
        if (atom.index.empty()) return std::optional<Plan>();
        NT_ASSIGN_OR_RETURN(const int64_t rows, Count(atom));
        plan.rows += rows;
        if (plan.rows >= kSelective) return std::optional<Plan>();
        plan.drivers.push_back(fmt::format("SELECT pos FROM ev INDEXED BY {} WHERE {} AND t BETWEEN {} AND {}",
                                           atom.index, atom.where, low_, high_));
      }
      return std::optional<Plan>(std::move(plan));
    }
    if (node.kind == Node::Kind::kAnd) {
      std::optional<Plan> best;
      for (const auto& child : node.children) {
        NT_ASSIGN_OR_RETURN(auto plan, BestPlan(child));
        if (plan && (!best || plan->rows < best->rows)) best = std::move(plan);
        // Few enough: looking for better costs more than it saves.
        if (best && best->rows < 100) break;
      }
      return best;
    }
    if (node.kind == Node::Kind::kOr) {
      Plan sum;
      for (const auto& child : node.children) {
        NT_ASSIGN_OR_RETURN(auto plan, BestPlan(child));
        if (!plan) return std::optional<Plan>();
        sum.rows += plan->rows;
        if (sum.rows >= kSelective) return std::optional<Plan>();
        std::move(plan->drivers.begin(), plan->drivers.end(), std::back_inserter(sum.drivers));
      }
      return std::optional<Plan>(std::move(sum));
    }
    return std::optional<Plan>();
  }

  Db* db_;
  const int64_t low_;
  const int64_t high_;
  int tables_ = 0;
  std::map<const Term*, StringSets> sets_;
  std::map<const Term*, TermSql> compiled_;
};

}  // namespace

Result<Predicate> CompilePredicate(Db* db, const Node& query, int64_t low, int64_t high) {
  return Compiler(db, low, high).Run(query);
}

}  // namespace nodetrail::collector
