# SPDX-License-Identifier: Apache-2.0
nt_library(nt_collector SRCS collector.cc
  DEPS nt_base nt_config nt_tls nt_trail nt_log nt_collector_witness nt_store nt_ingest nt_index nt_query nt_enrol nt_admin nt_retention gRPC::grpc++ fmt::fmt)
nt_program(nodetrail-collector SRCS main.cc DEPS nt_collector CLI11::CLI11)

nt_test(nt_collector_test
  SRCS collector_test.cc main_test.cc ingest/ingest_test.cc store/quarantine_test.cc ../agent/ship/shipper_test.cc
       revocation_test.cc ../agent/ship/log_watch_test.cc ../agent/ship/receipts_test.cc ../agent/ship/late_test.cc
       ingest/receipts_test.cc
  DEPS nt_collector nt_ship nt_spool nt_seal nt_trail)
nt_test(nt_witnessed_test SRCS witnessed_test.cc
  DEPS nt_collector nt_ship nt_spool nt_seal nt_trail nt_witness nt_proto_grpc)
nt_test(nt_enrol_test
  SRCS ingest/entries_test.cc enrol/token_store_test.cc enrol/enrol_test.cc admin/holds_test.cc
  DEPS nt_collector nt_agent_enrol nt_ship nt_spool nt_seal nt_trail OpenSSL::Crypto)
if(NODETRAIL_TESTS)
  add_dependencies(nt_witnessed_test nodetrail-witness)
  add_dependencies(nt_collector_test nodetrail-collector)
endif()
