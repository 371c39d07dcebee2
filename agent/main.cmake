# SPDX-License-Identifier: Apache-2.0
nt_library(nt_agent_root SRCS agent.cc continuity.cc own_paths.cc sealing_sink.cc health/status_document.cc
  DEPS nt_agent_health nt_agent_config nt_pipeline nt_seal nt_spool nt_ship nt_capture nlohmann_json::nlohmann_json)
nt_program(nodetrail-agent SRCS main.cc DEPS nt_agent_root nt_agent_enrol CLI11::CLI11)
add_dependencies(nodetrail-agent nodetrail-canary)  # it is found beside the agent
nt_test(nt_agent_root_test SRCS health/status_document_test.cc DEPS nt_agent_root)
