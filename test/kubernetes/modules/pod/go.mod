module provisioning.test/pod

go 1.20
