// Measures one web metric as Argo Rollouts does, with its own provider; the metric is read as JSON from standard input.
//
// Prints the phase of the measurement (Successful, Failed, Inconclusive or Error), then its value and its message.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-rollouts/metricproviders/webmetric"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	log "github.com/sirupsen/logrus"
)

func main() {
	var metric v1alpha1.Metric
	if err := json.NewDecoder(os.Stdin).Decode(&metric); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	parser, err := webmetric.NewWebMetricJsonParser(metric)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	client, err := webmetric.NewWebMetricHttpClient(metric)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	provider := webmetric.NewWebMetricProvider(*log.NewEntry(log.StandardLogger()), client, parser)
	found := provider.Run(&v1alpha1.AnalysisRun{}, metric)
	fmt.Printf("%s\n%s\n%s\n", found.Phase, found.Value, found.Message)
}
