// Five alerts on an app. Processor time and memory are the plan's: a site has no such metrics. All of
// them resolve themselves, since one that does not would keep releases away.

@description('Short name that the rules are named by; alerts.rules of apps.yaml can name them NAME-*.')
param name string

@description('Tags of the rules.')
param tags object

@description('Resource id of the plan.')
param planId string

@description('Resource id of the site.')
param siteId string

@description('Names of the slots.')
param slotNames array

@description('Resource id of Application Insights.')
param componentsId string

@description('Resource id of the action group.')
param groupId string

@description('Processor time of the plan in percent.')
param cpuAbove int

@description('Memory of the plan in percent.')
param memoryAbove int

@description('Failed requests in five minutes.')
param failedAbove int

@description('Average duration of a request in milliseconds.')
param slowAbove int

var actions = [
  {
    actionGroupId: groupId
  }
]
var rules = [
  {
    name: 'cpu'
    description: 'The plan computes above its limit.'
    severity: 2
    scope: planId
    namespace: 'Microsoft.Web/serverfarms'
    metric: 'CpuPercentage'
    aggregation: 'Average'
    operator: 'GreaterThan'
    threshold: cpuAbove
    window: 'PT15M'
  }
  {
    name: 'memory'
    description: 'The plan is short of memory.'
    severity: 2
    scope: planId
    namespace: 'Microsoft.Web/serverfarms'
    metric: 'MemoryPercentage'
    aggregation: 'Average'
    operator: 'GreaterThan'
    threshold: memoryAbove
    window: 'PT15M'
  }
  {
    name: 'failed-requests'
    description: 'Requests fail.'
    severity: 1
    scope: componentsId
    namespace: 'Microsoft.Insights/components'
    metric: 'requests/failed'
    aggregation: 'Count'
    operator: 'GreaterThan'
    threshold: failedAbove
    window: 'PT5M'
  }
  {
    name: 'slow-requests'
    description: 'Requests take long.'
    severity: 2
    scope: componentsId
    namespace: 'Microsoft.Insights/components'
    metric: 'requests/duration'
    aggregation: 'Average'
    operator: 'GreaterThan'
    threshold: slowAbove
    window: 'PT5M'
  }
  {
    name: 'health-check'
    description: 'An instance of production fails its health check.'
    severity: 1
    scope: siteId
    namespace: 'Microsoft.Web/sites'
    metric: 'HealthCheckStatus'
    aggregation: 'Average'
    operator: 'LessThan'
    threshold: 100
    window: 'PT5M'
  }
]

resource onMetric 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for rule in rules: {
    name: '${name}-${rule.name}'
    location: 'global'
    tags: tags
    properties: {
      description: rule.description
      severity: rule.severity
      enabled: true
      autoMitigate: true
      scopes: [
        rule.scope
      ]
      evaluationFrequency: 'PT1M'
      windowSize: rule.window
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            name: rule.name
            criterionType: 'StaticThresholdCriterion'
            metricNamespace: rule.namespace
            metricName: rule.metric
            timeAggregation: rule.aggregation
            operator: rule.operator
            threshold: rule.threshold
          }
        ]
      }
      actions: actions
    }
  }
]

// A slot that serves a canary is watched as production is.
resource onSlot 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for slotName in slotNames: {
    name: '${name}-health-check-${slotName}'
    location: 'global'
    tags: tags
    properties: {
      description: 'An instance of slot ${slotName} fails its health check.'
      severity: 2
      enabled: true
      autoMitigate: true
      scopes: [
        '${siteId}/slots/${slotName}'
      ]
      evaluationFrequency: 'PT1M'
      windowSize: 'PT5M'
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            name: 'health-check'
            criterionType: 'StaticThresholdCriterion'
            metricNamespace: 'Microsoft.Web/sites/slots'
            metricName: 'HealthCheckStatus'
            timeAggregation: 'Average'
            operator: 'LessThan'
            threshold: 100
          }
        ]
      }
      actions: actions
    }
  }
]
